"""Very small sweeps by the real trainer on the tiny model, and their results except for timings."""

import contextlib
import io
import json
import os
import zlib

import yaml

# No scenes, so that nothing needs the verifier; the last four are held out.
PROMPTS = ["a quiet harbour", "stairs at night", "the old library", "rain", "thunder", "windows", "smoke"]
PPO = {"name": "ppo", "minibatches": 2, "learning_rate": 1e-3}
SAC = {"name": "sac", "critic_updates": 2, "actor_updates": 1, "batch": 8}
TIMED = ("seconds", "images_per_second", "memory_peak_mb")


def write_real_suite(folder, model, algorithms=(PPO,), seeds=(0,), epochs=2):
    """folder/mine.yaml: two steps, four images an epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS))
    base = {
        "policy": {"name": "stable_diffusion", "model": str(model), "precision": "fp32"},
        "sampler": {"name": "ddim", "steps": 2},
        "prompts": {"name": "from_file", "path": str(folder / "prompts.txt")},
        "advantages": {"name": "per_prompt", "min_count": 2},
        "samples_per_epoch": 4,
        "micro_batch": 2,
        "epochs": epochs,
        "evaluation": {"samples": 3},
        "checkpoint_seconds": 0,
    }
    suite = {"base": base, "matrix": {"algorithm": list(algorithms)}, "seeds": list(seeds)}
    (folder / "mine.yaml").write_text(yaml.safe_dump(suite))
    return folder / "mine.yaml"


def outcome(root):
    """Of every run below results/<suite>, as short lines: its state, its rows without times, its pictures."""
    found = []
    for folder in sorted(root.glob("runs/*/seed-*")):
        found.append(f"{folder.relative_to(root)}: {json.loads((folder / 'status.json').read_text())['state']}")
        for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
            kept = {key: value for key, value in row.items() if not key.startswith(TIMED)}
            found.append(f"epoch {row['epoch']}: {zlib.crc32(json.dumps(kept).encode())}")
        pictures = sorted((folder / "samples").glob("[!.]*.png"))
        found += [f"{path.name}: {zlib.crc32(path.read_bytes())}" for path in pictures]
    return found


def command(arguments, said, prepare=None, *args):
    """Be a process that runs one ddpo-bench command, and leaves what it says in a file."""
    from ddpo_bench import cli

    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.redirect_stderr(io.StringIO()) as lines, contextlib.redirect_stdout(lines):
        if prepare:
            prepare(*args)
        code = cli.main(list(map(str, arguments)))
    with open(said, "w") as file:
        file.write(lines.getvalue())
    os._exit(code)
