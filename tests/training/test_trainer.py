"""One training on the tiny model: what it writes, when it refuses, how it ends."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from run_rows import numbers, rows_of

from ddpo_bench.config import RunConfig
from ddpo_bench.rewards.checking import RewardError
from ddpo_bench.rewards.judges import seated
from ddpo_bench.training import record
from ddpo_bench.training.checkpoint import CorruptCheckpoint, load_newest, write_state
from ddpo_bench.training.run_identity import DifferentConfig
from ddpo_bench.training.trainer import train

EPOCHS = 3
COMMON = {
    "epoch", "queries", "reward_mean", "reward_std", "reward_max", "advantage_std", "kl_reference", "kl_reference_nats",
    "seconds_sampling", "seconds_reward", "seconds_kl", "seconds_learning", "images_per_second", "memory_peak_mb",
    "measuring_fraction", "prompts_truncated", "no_advantage_fraction", "advantage_clipped_fraction",
}  # fmt: skip
WITHIN = "reward_std_within"  # of epochs that draw a prompt twice
LEARNING = {"ratio_deviation_max", "kl_behaviour", "kl_behaviour_nats", "grad_norm", "grad_rms", "loss"}
EVALUATION = {
    "epoch", "eval/kl_reference", "eval/kl_reference_nats", "eval/diversity", "eval/image/brightness",
    "eval/image/contrast", "eval/image/colourfulness", "eval/image/sharpness", "seconds_eval_sampling",
    "seconds_eval_reward", "seconds_eval_kl", "seconds_eval_files", "prompts_truncated",
} | {f"eval/{judge}" for judge in seated(("shipped",), ["rain"], [{}])}  # fmt: skip
MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def finished(tiny_run: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("unbroken")
    train(tiny_run(), folder)
    return folder


def status_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    """Ctrl-C when the row of an epoch has been written, before its checkpoint."""

    def on_row(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch and "sampled" not in row:
            raise KeyboardInterrupt

    return on_row


def stopped(config: RunConfig, folder: Path, epoch: int = 2) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, stop_after(epoch))


def test_every_epoch_has_a_row_under_the_documented_names(finished: Path) -> None:
    rows = [row for row in rows_of(finished) if "queries" in row]
    assert [(row["epoch"], row["queries"]) for row in rows] == [(1, 4), (2, 8), (3, 12)]
    assert all(row.keys() - {WITHIN} == COMMON | LEARNING | {"clip_fraction", "kl_k1", "kl_k3"} for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_the_policy_is_judged_under_every_shipped_reward_before_and_after(finished: Path) -> None:
    rows = [row for row in rows_of(finished) if "queries" not in row]
    assert [row["epoch"] for row in rows] == [0, EPOCHS]
    assert all(row.keys() == EVALUATION for row in rows)
    assert rows[0]["eval/kl_reference"] < 1e-9 < rows[1]["eval/kl_reference"]
    assert rows[1]["eval/kl_reference_nats"] == pytest.approx(256 * rows[1]["eval/kl_reference"])
    assert rows[0]["eval/jpeg_compressibility"] == -rows[0]["eval/jpeg_incompressibility"]


def test_the_ratio_is_one_before_the_first_update_and_the_policy_the_pretrained_one(finished: Path) -> None:
    first, second = rows_of(finished)[1:3]
    assert first["ratio_deviation_max"] < 1e-5
    assert first["kl_reference"] < 1e-9 < second["kl_reference"]
    assert first["kl_behaviour"] > 1e-9


def test_the_folder_tells_what_was_run_on_what_and_how_it_ended(finished: Path, tiny_run: MakeConfig) -> None:
    assert yaml.safe_load((finished / "config.yaml").read_text()) == tiny_run().to_dict()
    known = json.loads((finished / "provenance.json").read_text())
    assert known["precision"] == "float32"
    assert known["schedule"] == "DDIMScheduler of the model, sampled by ddim"
    assert known["noisy_steps"] == yaml.safe_load((finished / "config.yaml").read_text())["sampler"]["steps"]
    assert known["quantities"] == {"algorithm.clip_range": {"nats": 1.6, "mean_units": 1.6 / 256}}
    assert {
        "ddpo_bench",
        "torch",
        "diffusers",
        "python",
        "platform",
        "processor",
        "threads",
        "git_commit",
    } < known.keys()
    status = status_of(finished)
    assert (status["state"], status["reason"], status["epoch"], status["epochs"]) == ("done", None, EPOCHS, EPOCHS)
    assert status["seconds"] > 0
    assert status["started"] <= status["finished"]


def test_the_parts_of_a_runs_time_are_together_no_more_than_the_whole(finished: Path) -> None:
    status = status_of(finished)
    overheads = {key: value for key, value in status.items() if key.startswith("seconds_")}
    assert overheads.keys() == {"seconds_start", "seconds_checkpoint", "seconds_files"}
    measured = [value for row in rows_of(finished) for key, value in row.items() if key.startswith("seconds_")]
    parts = [*overheads.values(), *measured]
    assert min(parts) >= 0 < min(overheads.values())
    assert 0.8 * status["seconds"] < sum(parts) <= status["seconds"]


def test_pictures_of_the_evaluations_are_a_grid_that_the_index_explains(finished: Path) -> None:
    index = json.loads((finished / "samples" / "index.json").read_text())
    assert index["columns"] == 8
    assert index["tile"] == [16, 16]
    assert len(index["prompts"]) == 3
    pictures = sorted((finished / "samples").glob("*.png"))
    assert [picture.name for picture in pictures] == ["epoch-0000.png", "epoch-0003.png"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.size == (8 * 16, 16)


@pytest.mark.parametrize("kept", [1, 2])
def test_the_newest_checkpoints_alone_stay(tiny_run: MakeConfig, tmp_path: Path, kept: int) -> None:
    stopped(tiny_run(f"checkpoints_kept={kept}"), tmp_path, 3)
    expected = ["epoch-0001.pt", "epoch-0002.pt"][-kept:]
    assert [p.name for p in sorted((tmp_path / "checkpoint").iterdir())] == expected


def test_checkpoints_that_would_come_too_soon_are_left_out_and_a_resumed_run_is_the_same(
    tiny_run: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    config = tiny_run("checkpoint_seconds=1000")
    stopped(config, tmp_path, 3)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["epoch-0000.pt"]
    assert json.loads((tmp_path / "status.json").read_text())["epoch"] == 2
    train(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["epoch-0003.pt"]
    assert numbers(tmp_path) == numbers(finished)


def test_a_checkpoint_of_an_older_version_is_named_with_its_remedy(tiny_run: MakeConfig, tmp_path: Path) -> None:
    stopped(tiny_run(), tmp_path, 3)
    newest = max((tmp_path / "checkpoint").iterdir())
    state = torch.load(newest, weights_only=True)
    for kept in ({"epoch", "policy", "algorithm", "advantages"}, set(state) - {"algorithm"}):
        older = {key: state[key] for key in kept} | ({} if "algorithm" in kept else {"algorithm": {"other": 1}})
        torch.save(older, newest)
        with pytest.raises(CorruptCheckpoint, match="made by an older version"):
            train(tiny_run(), tmp_path)


def test_a_finished_run_keeps_one_checkpoint_to_resume_from(finished: Path) -> None:
    (path,) = (finished / "checkpoint").iterdir()
    assert path.name == "epoch-0003.pt"
    parts = {"policy", "algorithm", "advantages", "reward", "judges", "metrics"}
    assert torch.load(path, weights_only=True).keys() == {"epoch", *parts}


def test_more_epochs_continue_a_finished_run_to_the_numbers_of_one_that_was_planned_longer(
    tiny_run: MakeConfig, tmp_path: Path
) -> None:
    sac = {"name": "sac", "critic_updates": 2, "actor_updates": 1, "batch": 8, "replay_rollouts": 2}
    make = partial(tiny_run, algorithm=sac)
    train(make("epochs=4"), tmp_path / "longer")
    folder = tmp_path / "shorter"
    train(make("epochs=1"), folder)
    seconds = status_of(folder)["seconds"]
    train(make("epochs=3"), folder)
    train(make("epochs=4"), folder)
    rows = numbers(folder)
    former_ends = [row for row in rows if "queries" not in row and row["epoch"] in (1, 3)]
    assert [row for row in rows if row not in former_ends] == numbers(tmp_path / "longer")
    assert [row["epoch"] for row in former_ends] == [1, 3]
    assert weights_of(folder) == weights_of(tmp_path / "longer")
    assert yaml.safe_load((folder / "config.yaml").read_text())["epochs"] == 4
    status = status_of(folder)
    assert (status["state"], status["epoch"], status["epochs"]) == ("done", 4, 4)
    assert status["seconds"] > seconds


def weights_of(folder: Path) -> list[Any]:
    """All numbers of the trained policy."""
    state = load_newest(folder, torch.device("cpu"))
    assert state
    return [value.tolist() if isinstance(value, torch.Tensor) else value for value in flat(state["policy"])]


def flat(state: Any) -> list[Any]:
    """All leaves of nested mappings."""
    return [leaf for part in state.values() for leaf in flat(part)] if isinstance(state, dict) else [state]


def test_a_run_whose_policy_alone_was_kept_says_why_it_cannot_resume(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (path,) = (folder / "checkpoint").iterdir()
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in ("epoch", "policy", "metrics")}, path)
    before = (folder / "config.yaml").read_bytes()
    with pytest.raises(
        DifferentConfig, match="cannot be continued to 9 epochs, because an older version kept only its policy"
    ):
        train(tiny_run("epochs=9"), folder)
    assert (folder / "config.yaml").read_bytes() == before
    assert status_of(folder)["state"] == "done"


def test_a_finished_run_is_not_run_again(finished: Path, tiny_run: MakeConfig) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    train(tiny_run(), finished, lambda row: pytest.fail("it trained"))
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    train(tiny_run(), tmp_path / "same")
    train(tiny_run("seed=1", "epochs=1"), tmp_path / "other")
    assert numbers(tmp_path / "same") == numbers(finished)
    assert numbers(tmp_path / "other")[0] != numbers(finished)[0]


def test_before_learning_every_algorithm_is_judged_on_the_same_pictures(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    train(tiny_run(algorithm="frozen"), tmp_path)
    first, last = (row for row in numbers(tmp_path) if "queries" not in row)
    assert first == numbers(finished)[0]
    unmoved = {"epoch": 0, "eval/kl_reference": 0.0, "eval/kl_reference_nats": 0.0}
    assert last["eval/kl_reference"] < 1e-9  # a copy may round differently at another address
    assert last | unmoved == first
    assert (tmp_path / "samples/epoch-0003.png").read_bytes() == (finished / "samples/epoch-0000.png").read_bytes()


@pytest.mark.parametrize("epoch", [0, 2, 3])
def test_an_interrupted_run_says_so_and_resumes_to_the_same_numbers(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path, epoch: int
) -> None:
    stopped(tiny_run(), tmp_path, epoch)
    status = status_of(tmp_path)
    assert (status["state"], status["reason"]) == ("killed", "interrupted")
    train(tiny_run(), tmp_path)
    assert numbers(tmp_path) == numbers(finished)
    assert status_of(tmp_path)["state"] == "done"
    assert status_of(tmp_path)["seconds"] > status["seconds"]


def test_a_torn_last_row_is_repaired_on_resuming(finished: Path, tiny_run: MakeConfig, tmp_path: Path) -> None:
    stopped(tiny_run(), tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "queries": 8, "rew')
    train(tiny_run(), tmp_path)
    assert numbers(tmp_path) == numbers(finished)


def test_a_damaged_newest_checkpoint_is_named_and_never_passed_over(tiny_run: MakeConfig, tmp_path: Path) -> None:
    stopped(tiny_run(), tmp_path)
    newest = sorted((tmp_path / "checkpoint").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.raises(CorruptCheckpoint, match=newest.name) as raised:
        train(tiny_run(), tmp_path)
    assert "\n" not in str(raised.value)
    newest.unlink()
    train(tiny_run(), tmp_path)
    assert status_of(tmp_path)["state"] == "done"


def test_a_checkpoint_that_was_being_written_is_no_checkpoint(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    stopped(tiny_run(), tmp_path)
    (tmp_path / "checkpoint" / "epoch-0002.partial").write_bytes(b"half a file")
    train(tiny_run(), tmp_path)
    assert numbers(tmp_path) == numbers(finished)
    assert not list((tmp_path / "checkpoint").glob("*.partial"))


@pytest.mark.parametrize(
    ("override", "key"), [("algorithm.learning_rate=1e-5", "algorithm"), ("seed=3", "seed"), ("epochs=2", "epochs")]
)
def test_another_configuration_in_the_same_folder_is_refused_by_its_key(
    finished: Path, tiny_run: MakeConfig, override: str, key: str
) -> None:
    with pytest.raises(DifferentConfig, match=f"another {key}\\.") as raised:
        train(tiny_run(override), finished)
    assert "\n" not in str(raised.value)
    assert status_of(finished)["state"] == "done"


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("policy", "policy.model=/nowhere"),
        ("prompts", "prompts.path=nowhere.txt"),
        ("reward", "reward=python:nowhere:score"),
        ("reward that breaks at its first images", "reward=python:breaking_reward:score"),
    ],
)
def test_a_run_that_cannot_start_leaves_its_folder_to_the_mended_configuration(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "breaking_reward.py").write_text("def score(images, prompts, metadata): raise OSError('no judge')\n")
    with pytest.raises(Exception, match=r"nowhere|no judge"):
        train(tiny_run(wrong), tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").exists() == (part not in ("policy", "prompts", "reward"))
    train(tiny_run(), tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(finished)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == tiny_run().to_dict()


def test_what_does_not_change_the_numbers_may_change_on_resuming(
    finished: Path, tiny_run: MakeConfig, tmp_path: Path
) -> None:
    stopped(tiny_run(), tmp_path)
    train(tiny_run("checkpoints_kept=1", "checkpoint_seconds=1000"), tmp_path)
    assert numbers(tmp_path) == numbers(finished)


def test_a_reward_that_raises_fails_the_run_with_its_reason(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_reward.py").write_text("def score(images, prompts, metadata): raise OSError('no judge')\n")
    with pytest.raises(RewardError, match="no judge"):
        train(tiny_run(reward="python:failing_reward:score"), tmp_path / "run")
    status = status_of(tmp_path / "run")
    assert (status["state"], status["reason"]) == (
        "failed",
        "RewardError: reward failing_reward:score: OSError: no judge (failing_reward.py, line 1, in score)",
    )


def test_a_reward_that_draws_random_numbers_gives_the_same_run_twice(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["import random, numpy, torch", "def score(images, prompts, metadata):"]
    lines += ["    return [random.random() + numpy.random.rand() + torch.rand(()).item() for _ in prompts]"]
    (tmp_path / "random_reward.py").write_text("\n".join(lines))
    config = tiny_run("epochs=1", reward="python:random_reward:score")
    for name in ("one", "two"):
        train(config, tmp_path / name)
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    assert json.loads((tmp_path / "one/provenance.json").read_text())["reward"] == "random_reward:score"
    assert "eval/random_reward:score" in numbers(tmp_path / "one")[0]


def test_a_reward_that_changes_the_images_changes_no_other_figure(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil = "def spoil(i, p, m):\n    i.zero_()\n    return [0.0] * len(p)\n"
    (tmp_path / "spoiling_reward.py").write_text(f"def look(i, p, m): return [1.0] * len(p)\n{spoil}")
    for name in ("look", "spoil"):
        train(tiny_run("epochs=0", reward=f"python:spoiling_reward:{name}"), tmp_path / name)
    ((looked,), (spoiled,)) = numbers(tmp_path / "look"), numbers(tmp_path / "spoil")
    assert looked.pop("eval/spoiling_reward:look") == 1
    assert spoiled.pop("eval/spoiling_reward:spoil") == 0
    assert looked == spoiled
    pictures = [(tmp_path / name / "samples/epoch-0000.png").read_bytes() for name in ("look", "spoil")]
    assert pictures[0] == pictures[1]


def test_a_file_changed_since_the_run_began_is_refused_by_its_name(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(f"prompt {i}\n" for i in range(40))
    (tmp_path / "own.txt").write_text(text)
    config = tiny_run("epochs=1", prompts={"name": "from_file", "path": "own.txt"})
    stopped(config, tmp_path / "run", 1)
    assert json.loads((tmp_path / "run/provenance.json").read_text())["inputs"]["prompts.path"].keys() == {"own.txt"}
    (tmp_path / "own.txt").write_text(text + "another prompt\n")
    with pytest.raises(DifferentConfig, match=r"^prompts.path \(own.txt\): changed since this command began"):
        train(config, tmp_path / "run")
    again = tiny_run("epochs=1", prompts={"name": "from_file", "path": "own.txt"})
    with pytest.raises(DifferentConfig, match=r"other input files; changed since: prompts.path \(own.txt\)\."):
        train(again, tmp_path / "run")
    (tmp_path / "own.txt").unlink()
    with pytest.raises(DifferentConfig, match=r"^A file that the run reads has changed: path: no such file 'own.txt'"):
        train(again, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/own.txt").write_text(text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(tiny_run("epochs=1", prompts={"name": "from_file", "path": "./own.txt"}), tmp_path / "run")
    assert status_of(tmp_path / "run")["state"] == "done"


def test_evaluations_within_a_run_come_as_often_as_asked(tiny_run: MakeConfig, tmp_path: Path) -> None:
    train(tiny_run("evaluation.every=2"), tmp_path)
    assert [row["epoch"] for row in rows_of(tmp_path) if "queries" not in row] == [0, 2, 3]


def test_the_logger_is_closed_when_a_run_fails(
    tiny_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Logger:
        def log(self, row: dict[str, Any]) -> None:
            raise RuntimeError("disk full")

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(record, "make_logger", lambda *arguments: Logger())
    with pytest.raises(RuntimeError, match="disk full"):
        train(tiny_run(), tmp_path)
    assert closed == [True]


def test_an_interrupt_while_a_checkpoint_is_written_stays_one() -> None:
    class Interrupted(io.BytesIO):
        def write(self, data: Any) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_state({"weights": torch.zeros(3)}, Interrupted())
