"""Synthetic run folders: the files that the trainer writes, with numbers known beforehand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from ddpo_bench.analysis.tables import Row, Table

REWARDS = ("jpeg_compressibility", "target_colour")
IMAGE_STATISTICS = ("brightness", "colourfulness", "contrast", "sharpness")
EPOCHS, SAMPLES, TILE = 6, 32, 64
SECONDS = {"sampling": 4.0, "reward": 0.5, "learning": 3.0}  # an epoch
EPOCH = {"sampling": 4.0, "reward": 0.5, "learning": 3.0, "kl": 1.0}  # seconds; 6 epochs
EVALUATION = {"eval_sampling": 2.0, "eval_reward": 0.25, "eval_kl": 0.5, "eval_files": 0.05}  # 2 evaluations
OVERHEADS = {"start": 0.9, "checkpoint": 0.6, "files": 0.2}
PRETRAINED = {"jpeg_compressibility": -1.09, "target_colour": 0.07}
GAIN = {"frozen": 0.0, "ppo": 0.2, "trpo_penalty": 0.19, "policy_gradient": 0.004, "sac": 0.35}
KL_NATS = {"frozen": 0.0, "ppo": 6.0, "trpo_penalty": 2.5, "policy_gradient": 0.9, "sac": 40.0}
PROMPTS = [
    "a dog",
    "three frogs on a blue striped background",
    "a cat and an apple",
    "two lions",
    "a red car on grass",
] * 4


def fabricate_suite(
    results: Path, algorithms: tuple[str, ...] = ("frozen", "ppo", "trpo_penalty"), seeds: int = 3
) -> Path:
    """results/<suite> with every algorithm x reward x seed done; returns `results`."""
    for reward in REWARDS:
        for algorithm in algorithms:
            for seed in range(seeds):
                fabricate_run(results, algorithm, reward, seed)
    return results


def fabricate_run(results: Path, algorithm: str, reward: str, seed: int, state: str = "done", **options: Any) -> Path:
    """One run folder; `options` are the algorithm's, and part of the cell's hash."""
    digits = hashlib.sha256(json.dumps([algorithm, reward, options]).encode()).hexdigest()[:12]
    folder = results / "runs" / f"{algorithm}-{reward}-{digits}" / f"seed-{seed}"
    folder.mkdir(parents=True)
    config = {"algorithm": {"name": algorithm, **options}, "reward": {"name": reward}, "epochs": EPOCHS, "seed": seed}
    config["evaluation"] = {"prompts": "held_out"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    provenance = {
        "torch": "2.13.0",
        "processor": "test processor",
        "precision": "fp32",
        "threads": 1,
        "git_commit": "abc1234",
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    reason = "the reward returned NaN\nat epoch 3" if state == "failed" else None
    status = {"state": state, "reason": reason, "epoch": EPOCHS, "epochs": EPOCHS, "seconds": 60.0 + seed}
    (folder / "status.json").write_text(json.dumps(status))
    write_rows(folder, metrics(algorithm, reward, seed))
    write_samples(folder / "samples", GAIN[algorithm])
    return folder


def final_reward(algorithm: str, reward: str, seed: int) -> float:
    """What `evaluation` reports after training: seeds differ by 0.01, in the same way under every algorithm."""
    return PRETRAINED[reward] + 0.01 * (seed - 1) + GAIN[algorithm]


def evaluation(algorithm: str, reward: str, seed: int, epoch: int) -> dict[str, float]:
    trained = bool(epoch)
    values = {f"eval/{name}": final_reward("frozen", name, seed) for name in REWARDS}
    values[f"eval/{reward}"] = final_reward(algorithm if trained else "frozen", reward, seed)
    values["eval/diversity"] = 0.25 - 0.4 * GAIN[algorithm] * trained
    values |= {f"eval/image/{name}": 0.5 + (seed - 1) * GAIN[algorithm] * trained for name in IMAGE_STATISTICS}
    nats = KL_NATS[algorithm] * (1 + 0.1 * seed) * trained
    return {"epoch": epoch, **values, "eval/kl_reference": nats / 512, "eval/kl_reference_nats": nats}


def metrics(algorithm: str, reward: str, seed: int) -> list[dict[str, float]]:
    """The rows of metrics.jsonl."""
    noise = np.random.default_rng([seed, len(algorithm)]).normal(0, 0.01, EPOCHS)
    rows = [evaluation(algorithm, reward, seed, 0)]
    for epoch in range(1, EPOCHS + 1):
        mean = PRETRAINED[reward] + GAIN[algorithm] * (1 - np.exp(-epoch / 2)) + noise[epoch - 1]
        rows.append(
            {"epoch": epoch, "queries": epoch * SAMPLES, "reward_mean": float(mean), "images_per_second": 10.0 + epoch,
             "memory_peak_mb": 500.0 + epoch, "kl_reference_nats": KL_NATS[algorithm] * (epoch - 1) / EPOCHS,
             **{f"seconds_{part}": seconds for part, seconds in SECONDS.items()}}
        )  # fmt: skip
    return [*rows, evaluation(algorithm, reward, seed, EPOCHS)]


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def write_rows(run: Path, rows: list[dict[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def update(run: Path, file: str, *dropped: str, **values: Any) -> None:
    """Change some keys of config.yaml, status.json or provenance.json, and drop others."""
    held = yaml.safe_load((run / file).read_text()) | values
    (run / file).write_text(json.dumps({key: value for key, value in held.items() if key not in dropped}))


def plan(suite: Path, seeds: int = 3, cells: int | None = None, **others: Any) -> None:
    """Write suite.yaml: a plan of the first cells that there are."""
    names = sorted({path.parent.name for path in suite.glob("runs/*/seed-0")})[:cells]
    planned = [{"name": name[:-13], "hash": name[-12:], "varied": {}} for name in names]
    (suite / "suite.yaml").write_text(yaml.safe_dump({"cells": planned, "seeds": list(range(seeds)), **others}))


def row_of(table: Table, algorithm: str, reward: str = "target_colour") -> Row:
    """The row of a cell."""
    (row,) = [r for r in table.rows if (r.values["algorithm"], r.values["reward"]) == (algorithm, reward)]
    return row


def measure_parts(suite: Path) -> None:
    """Give every run the seconds of its parts: `EPOCH`, `EVALUATION` and `OVERHEADS`."""
    for run in suite.glob("runs/*/*"):
        parts = {True: EPOCH, False: EVALUATION}
        write_rows(run, [row | in_seconds(parts["queries" in row]) for row in rows_of(run)])
        update(run, "status.json", **in_seconds(OVERHEADS))


def in_seconds(parts: dict[str, float]) -> dict[str, float]:
    return {f"seconds_{part}": seconds for part, seconds in parts.items()}


def without(suite: Path, start: str, pattern: str = "runs/*/*") -> None:
    """Drop the measures of some runs, as an older version would have written them."""
    for run in suite.glob(pattern):
        write_rows(run, [{k: v for k, v in row.items() if not k.startswith(start)} for row in rows_of(run)])


def write_samples(folder: Path, gain: float) -> None:
    """Two grids of 16 tiles and their index."""
    folder.mkdir()
    grid("#88aacc", 0.0).save(folder / "epoch-0000.png")
    grid("#88aacc", gain).save(folder / f"epoch-{EPOCHS:04d}.png")
    index = {"columns": 8, "tile": [TILE, TILE], "prompts": PROMPTS[:16]}
    (folder / "index.json").write_text(json.dumps(index))


def grid(colour: str, gain: float) -> Image.Image:
    image = Image.new("RGB", (8 * TILE, 2 * TILE), colour)
    pen = ImageDraw.Draw(image)
    for i in range(16):
        x, y = i % 8 * TILE, i // 8 * TILE
        pen.rectangle((x, y, x + TILE - 1, y + TILE - 1), fill=(40 + 12 * i, 200 - 8 * i, int(90 + 400 * gain) % 256))
        pen.ellipse((x + 12, y + 10 + i, x + 44, y + 42 + i), fill="#f4d35e", outline="#222222")
    return image
