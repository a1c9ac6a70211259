"""`validate`: what it finds before anything runs, and what it says a plan will cost."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ddpo_bench import cli
from ddpo_bench.config import Resources, run_config
from ddpo_bench.files import write_json
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.policies.stored_weights import shapes
from ddpo_bench.preflight import checks, memory, probe
from ddpo_bench.preflight.flops import run_flops
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.suite import load_suite

CPU = torch.device("cpu")
GOOD = {"epochs": 2, "samples_per_epoch": 8, "micro_batch": 4, "sampler": {"name": "ddim", "steps": 2}}
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suite(base: dict[str, Any] | None = None, **matrix: list[Any]) -> str:
    Path("mine.yaml").write_text(yaml.safe_dump({"base": GOOD | (base or {}), "matrix": matrix, "seeds": [0, 1]}))
    return "mine.yaml"


def output_of(capsys: Captured, *arguments: str) -> list[str]:
    assert cli.main(["validate", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def mistakes_of(capsys: Captured, *arguments: str) -> list[str]:
    assert cli.main(["validate", *arguments]) == 1
    return capsys.readouterr().err.splitlines()


def line(lines: list[str], word: str) -> str:
    (found,) = [text.strip() for text in lines if text.strip().startswith(word)]
    return found


def test_a_plans_size_and_needs_are_told_and_nothing_is_written(folder: Path, capsys: Captured) -> None:
    lines = output_of(capsys, suite(algorithm=["frozen", {"name": "ppo", "minibatches": 3}]))
    assert lines[0] == "mine.yaml: ok, a suite of 4 runs (2 cells x 2 seeds), 64 images"
    assert line(lines, "learning") == "learning  12 optimiser updates"  # of ppo: 2 seeds x 2 epochs x 3
    assert "ppo: weights" in line(lines, "(ppo")
    assert "3,988,680 numbers trained" in line(lines, "(ppo")
    # 2 cells x 2 seeds x 16 MB of weights, those of ppo with two moments a weight; before, 2 checkpoints of each.
    assert line(lines, "disk").endswith("128 MB when all runs are done, at most 255 MB before")
    assert "(by counted FLOPs at 50 % of a matrix product's" in line(lines, "time")
    assert "for more, --measure tries one micro-batch of each cell" in line(lines, "time")
    assert [path.name for path in folder.iterdir()] == ["mine.yaml"]


def test_prompts_that_are_too_long_are_counted(folder: Path, capsys: Captured) -> None:
    Path("prompts.txt").write_text("a dog\n" + "a red dog and a cat on blue, " * 3 + "\nrain\n")
    Path("run.yaml").write_text("prompts: {name: from_file, path: prompts.txt}\n")
    told = line(output_of(capsys, "run.yaml"), "prompts")
    assert "1 of 3 different prompts drawn from from_file are longer than what the text encoder reads" in told
    assert not any(text.startswith("prompts") for text in output_of(capsys, suite()))


def test_what_a_cpu_ignores_is_told(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.yaml").write_text("compile: regional\n")
    told = "compile   regional is ignored: this machine has no GPU"
    for device in ("cpu", "cuda"):
        monkeypatch.setattr("ddpo_bench.preflight.cost.device_here", lambda device=device: torch.device(device))
        lines = output_of(capsys, "run.yaml")
        assert any(text.endswith(told) for text in lines) == (device == "cpu")


def test_updates_of_a_warm_up_are_not_counted(folder: Path, capsys: Captured) -> None:
    Path("run.yaml").write_text("algorithm: {name: sac, warmup_epochs: 2, actor_updates: 4}\nepochs: 5\n")
    assert line(output_of(capsys, "run.yaml"), "learning") == "learning  12 optimiser updates"


def test_the_time_of_finished_runs_of_the_same_configuration_is_taken(folder: Path, capsys: Captured) -> None:
    path = suite(algorithm=["frozen", "ppo"])
    for run in runs_of(load_suite(Path(path))):
        seconds = {"frozen": 30.0, "ppo": 90.0}[run.cell]
        write_json(folder / "results" / "mine" / run.folder / "status.json", {"state": "done", "seconds": seconds})
    time = line(output_of(capsys, path), "time")
    assert "for 4 runs" in time
    assert "(by finished runs)" in time
    ppo = next(folder.glob("results/mine/runs/ppo-*"))
    shutil.rmtree(ppo)
    assert "(by finished runs, by counted FLOPs at" in line(output_of(capsys, path), "time")


def test_a_measurement_gives_the_time(folder: Path, tiny_model: Path, capsys: Captured) -> None:
    path = suite({"policy": {"name": "stable_diffusion", "model": str(tiny_model)}}, algorithm=["ppo"])
    counted = line(output_of(capsys, path), "memory")
    lines = output_of(capsys, path, "--measure")
    assert "(by measuring a micro-batch)" in line(lines, "time")
    assert "as counted, and torch itself" in counted
    assert " by measuring a micro-batch; " in line(lines, "memory")


def test_the_measured_parts_are_added_up_over_a_run() -> None:
    config = run_config(GOOD | {"epochs": 5, "evaluation": {"samples": 16, "every": 2}}, "test")
    pace = probe.Pace(samples=4, start=1.0, sampling=2.0, learning=3.0, scales=True, peak=0)
    evaluations = 4 * 7 * 2.0  # before, twice between, after; 16 images to judge and 12 for the diversity each
    assert pace.of_run(config) == 1.0 + 5 * 2 * (2.0 + 3.0) + evaluations
    shared = replace(config, resources=Resources(processes=2))
    assert pace.of_run(shared) == 1.0 + (5 * 2 * (2.0 + 3.0) + evaluations) / 2
    fixed = probe.Pace(samples=4, start=1.0, sampling=2.0, learning=3.0, scales=False, peak=0)
    assert fixed.of_run(config) == 1.0 + 5 * (2 * 2.0 + 3.0) + evaluations


def test_the_memory_is_that_of_every_process_of_every_worker(folder: Path, capsys: Captured, monkeypatch: Any) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    lines = output_of(capsys, suite({"resources": {"processes": 2}}))
    assert " for each of 2 processes in each of 2 workers as counted" in line(lines, "memory")
    assert " with 2 workers (" in line(lines, "time")


def test_a_hub_model_is_not_asked_for(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    lines = output_of(capsys, suite({"policy": {"name": "stable_diffusion", "model": "nobody/has-this-model"}}))
    assert "nobody/has-this-model: not on this machine; the first run downloads it" in line(lines, "model")
    assert "not known" in line(lines, "memory")
    assert "run one seed of each cell first" in line(lines, "time")


@pytest.mark.long
def test_a_published_hub_model_is_counted(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    model = {"name": "stable_diffusion", "model": "stable-diffusion-v1-5/stable-diffusion-v1-5", "precision": "fp32"}
    lines = output_of(capsys, suite({"policy": model | {"adapter": {"name": "lora"}}}))
    assert any("797,184 numbers trained" in text for text in lines)  # rank 4 on the attention projections
    assert "by counted FLOPs" in line(lines, "time")


SMALL_SAC = {"name": "sac", "warmup_epochs": 1, "critic_updates": 1, "actor_updates": 2, "batch": 4}


@pytest.mark.long
@pytest.mark.parametrize("algorithm", [{"name": "ppo", "timestep_fraction": 0.5, "passes": 2}, SMALL_SAC])
def test_counted_flops_are_those_of_a_run(
    tiny_model: Path, tmp_path: Path, algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without judges, and without the attention that computes its scores again in the backward pass."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from ddpo_bench.training.trainer import train

    policy = {"name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32", "guidance_scale": 2.0}
    evaluation = {"samples": 4, "every": 1}
    config = run_config(
        {"policy": policy, "algorithm": algorithm, "epochs": 2, "samples_per_epoch": 4, "micro_batch": 4,
         "sampler": {"name": "ddim", "steps": 2}, "evaluation": evaluation}, "test"
    )  # fmt: skip
    monkeypatch.setattr("ddpo_bench.policies.narrow_attention.has_narrow_heads", lambda network: False)
    monkeypatch.setattr("ddpo_bench.training.evaluation.seated", lambda *given: {})
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        train(config, tmp_path / "run")
    assert run_flops(config) == pytest.approx(counter.get_total_flops(), rel=0.1)  # that left out what measures epochs


@pytest.mark.long
def test_a_measured_estimate_is_within_a_fifth_of_a_run(tmp_path: Path) -> None:
    """In CPU seconds, which other load does not change, on the embedded model."""
    from ddpo_bench.training.trainer import train

    config = run_config(
        {"algorithm": "ppo", "epochs": 3, "samples_per_epoch": 32, "micro_batch": 32, "evaluation": {"samples": 32},
         "sampler": {"name": "ddim", "steps": 5}, "policy": {"name": "stable_diffusion", "precision": "fp32"}}, "test"
    )  # fmt: skip
    estimate = probe.measure(config).of_run(config)
    clock = time.process_time()
    train(config, tmp_path / "run")
    assert estimate == pytest.approx(time.process_time() - clock, rel=0.2)


def test_all_mistakes_come_at_once_each_with_its_place(folder: Path, capsys: Captured) -> None:
    path = suite(
        {"policy": {"name": "stable_diffusion", "model": "no-such-folder"}, "logger": "wandb"},
        algorithm=["pppo"],
        **{"policy.model": ["also/not/one"]},
    )
    Path("results").write_text("a file")
    lines = mistakes_of(capsys, path)
    assert all(text.startswith("mine.yaml: ") for text in lines)
    starts = [
        "matrix.algorithm[0]: unknown algorithm 'pppo'",
        "base.policy.model: 'no-such-folder' is neither a folder",
    ]
    starts += ["matrix.policy.model[0]: 'also/not/one' is neither"]
    for start in starts:
        assert len([text for text in lines if text.startswith(f"mine.yaml: {start}")]) == 1, lines


def test_a_logger_that_is_not_installed_is_a_mistake(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert mistakes_of(capsys, suite({"logger": "wandb"})) == [
        "mine.yaml: base.logger: wandb is not installed. Run: pip install 'ddpo-bench[wandb]'."
    ]


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        (
            "def judge(images): return images.mean()",
            "function: rewards_of_mine:judge takes (images); write a function of (images, prompts, metadata)",
        ),
        ("def judge(images, prompts, metadata): return images.mean()", "returned scores of shape [] for 2 images"),
        ("def judge(images, prompts, metadata): return images.mean((1, 2, 3))", None),
    ],
)
def test_a_python_reward_is_called(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, body: str, mistake: str | None
) -> None:
    monkeypatch.delitem(sys.modules, "rewards_of_mine", raising=False)
    Path("rewards_of_mine.py").write_text(body + "\n")
    path = suite(reward=["jpeg_compressibility", "python:rewards_of_mine:judge"])
    if mistake is None:
        output_of(capsys, path)
    else:
        (only,) = mistakes_of(capsys, path)
        assert only.startswith("mine.yaml: matrix.reward[1]: ")
        assert mistake in only


def test_a_reward_that_cannot_judge_the_prompts_is_a_mistake(folder: Path, capsys: Captured) -> None:
    (only,) = mistakes_of(capsys, suite({"reward": "scene_alignment", "prompts": "imagenet_animals"}))
    assert only.startswith("mine.yaml: base.reward: reward scene_alignment: cannot judge the prompt")


def test_results_that_cannot_be_written_are_a_mistake(folder: Path, capsys: Captured) -> None:
    Path("results").write_text("a file")
    (only,) = mistakes_of(capsys, suite())
    assert only.endswith("results is a file, so results/mine cannot be created. Give another --results DIR.")


def test_too_little_room_on_the_disk_is_a_mistake(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "free_bytes", lambda root: 1_000_000)
    (only,) = mistakes_of(capsys, suite())
    assert "results/mine needs up to 191 MB for checkpoints, and 1.0 MB are free." in only


@pytest.mark.parametrize(
    ("damage", "mistake"),
    [
        (lambda copy: (copy / "model_index.json").unlink(), "holds no model_index.json"),
        (lambda copy: shutil.rmtree(copy / "vae"), "lacks vae/config.json, vae's weights."),
        (
            lambda copy: (copy / "scheduler" / "scheduler_config.json").unlink(),
            "lacks scheduler/scheduler_config.json.",
        ),
        (lambda copy: shutil.rmtree(copy / "tokenizer"), "lacks tokenizer/tokenizer.json."),
        (lambda copy: cut(copy / "unet" / "diffusion_pytorch_model.safetensors", -100), "is cut short: "),
        (
            lambda copy: cut(copy / "unet" / "diffusion_pytorch_model.safetensors", 20),
            "or is cut short. Copy it again.",
        ),
    ],
)
def test_a_model_folder_that_is_not_whole_is_a_mistake(
    tiny_model: Path, tmp_path: Path, damage: Any, mistake: str
) -> None:
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    assert StableDiffusion(str(copy)).mistakes() == []
    damage(copy)
    (only,) = StableDiffusion(str(copy)).mistakes()
    assert mistake in only
    assert only.endswith(".")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_weights_in_several_files_are_found_and_counted(tiny_model: Path, tmp_path: Path) -> None:
    whole = StableDiffusion(str(tiny_model)).footprint(CPU)
    copy = Path(shutil.copytree(tiny_model, tmp_path / "parts"))
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    part = file.with_name("diffusion_pytorch_model-00001-of-00001.safetensors")
    file.rename(part)
    index = {"weight_map": dict.fromkeys(shapes(part), part.name)}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
    split = StableDiffusion(str(copy)).footprint(CPU)
    assert StableDiffusion(str(copy)).mistakes() == []
    assert whole
    assert split == whole
    part.unlink()
    assert "lacks unet's weights" in StableDiffusion(str(copy)).mistakes()[0]


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_counted_weights_are_those_that_training_holds(tiny_model: Path, adapter: str) -> None:
    from ddpo_bench.training.trainer import start_policy

    options = {"name": "stable_diffusion", "model": str(tiny_model), "adapter": {"name": adapter}, "precision": "fp32"}
    config = run_config({"policy": options, "algorithm": "ppo"}, "test")
    need = memory.needs(config)
    policy, _ = start_policy(config, CPU)
    trained = policy.parameters()
    optimiser = torch.optim.AdamW(trained)
    sum(weight.sum() for weight in trained).backward()  # type: ignore[union-attr]
    optimiser.step()
    moments = [value for state in optimiser.state.values() for value in state.values() if value.ndim]
    assert need
    assert need.trained == sum(weight.numel() for weight in trained)
    assert need.state == sum(moment.nbytes for moment in moments)
    assert need.gradients == sum(weight.grad.nbytes for weight in trained if weight.grad is not None)


def test_the_counted_replay_is_what_a_checkpoint_holds(tiny_model: Path, tmp_path: Path) -> None:
    from ddpo_bench.training.trainer import train

    (tmp_path / "prompts.txt").write_text("a quiet harbour\nthe old library\nrain\n")
    data = {
        "policy": {"name": "stable_diffusion", "model": str(tiny_model), "guidance_scale": 3.0, "precision": "fp32"},
        "sampler": {"name": "ddim", "steps": 2},
        "prompts": {"name": "from_file", "path": str(tmp_path / "prompts.txt")},
        "algorithm": {"name": "sac", "replay_rollouts": 2, "critic_updates": 1, "actor_updates": 1, "batch": 4},
        "advantages": {"name": "per_prompt", "min_count": 2},
        "samples_per_epoch": 4,
        "micro_batch": 2,
        "epochs": 4,
        "evaluation": {"samples": 1},
        "checkpoint_seconds": 0,
    }
    config = run_config(data, "test")

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", stop)
    newest = max((tmp_path / "run" / "checkpoint").iterdir())
    replay = torch.load(newest, weights_only=True)["algorithm"]["replay"]
    kept = [replay["latents"], replay["conditioning"]["pooled"], *replay["conditioning"]["tensors"].values()]
    footprint = config.policy.build().footprint(CPU)
    optimiser = 8 * footprint.trained
    assert config.algorithm.build().state_bytes(config, footprint) - optimiser == sum(part.nbytes for part in kept)


def test_a_cached_hub_model_is_looked_at_where_it_lies(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    cached = {name: str(tiny_model / name) for name in ("unet/config.json", "model_index.json")}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name, revision: cached.get(name))
    assert StableDiffusion("owner/name").local_folder() == tiny_model
    assert StableDiffusion("owner/name").mistakes() == []
    del cached["unet/config.json"]
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name, revision: None)
    assert StableDiffusion("owner/name").local_folder() is None
