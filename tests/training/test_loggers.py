"""TensorBoard, W&B and trackio get the rows of metrics.jsonl; none needs the network."""

from __future__ import annotations

import builtins
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ddpo_bench import cli
from ddpo_bench.config import RunConfig
from ddpo_bench.training.loggers import LoggerUnavailable, make_logger, refuse_unavailable
from ddpo_bench.training.trainer import train


def test_tensorboard_holds_every_number_of_every_row(small_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(small_run("logger=tensorboard", "epochs=2", algorithm="frozen"), tmp_path)
    events = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for row in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()):
        for key in row.keys() - {"epoch"}:
            values = {event.step: event.value for event in events.Scalars(key)}
            assert values[row["epoch"]] == pytest.approx(row[key], rel=1e-6, abs=1e-6)


def test_wandb_works_offline(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # it keeps the environment that an earlier test had
    logger = make_logger(small_run("logger=wandb"), tmp_path)
    logger.log({"epoch": 1, "reward_mean": 0.5})
    logger.close()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    end = time.monotonic() + 60  # another process writes it, late where the machine is busy
    while b"reward_mean" not in file.read_bytes():
        assert time.monotonic() < end, "W&B wrote no metric"
        time.sleep(0.2)


class FakeWandb(ModuleType):
    """W&B with its server: runs by their id, each with the steps that it took and the summary."""

    def __init__(self, key: str | None = "secret", mode: str = "online"):
        super().__init__("wandb")
        self.key, self.mode = key, mode
        self.steps: dict[str, dict[int, dict[str, Any]]] = {}

    def setup(self) -> SimpleNamespace:
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, prompt: bool = True, verify: bool = True) -> bool:
        assert not prompt
        assert not verify
        return self.key is not None

    def init(self, id: str, resume: str, **options: Any) -> SimpleNamespace:
        assert resume == "allow"
        steps = self.steps.setdefault(id, {})
        starting_step = max(steps) + 1 if steps else 0

        def log(values: dict[str, Any], step: int) -> None:
            assert step >= starting_step, "W&B refuses a step that it holds"
            steps.setdefault(step, {}).update(values)

        return SimpleNamespace(log=log, finish=lambda: None, starting_step=starting_step, summary={})


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    fake.__spec__ = ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_resumed_run_is_one_run_of_wandb_with_every_epoch_once(
    small_run: Callable[..., RunConfig], tmp_path: Path, wandb: FakeWandb
) -> None:
    config = small_run("logger=wandb", "epochs=2", algorithm="frozen")

    def stop_in_its_last_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == 2 and "queries" in row:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, stop_in_its_last_epoch)
    train(config, tmp_path)
    ((_, steps),) = wandb.steps.items()
    assert sorted(steps) == [0, 1, 2]
    assert "reward_mean" in steps[2]


@pytest.mark.parametrize(("key", "mode"), [("secret", "online"), (None, "offline"), (None, "disabled")])
def test_wandb_needs_no_key_where_it_does_not_go_online(wandb: FakeWandb, key: str | None, mode: str) -> None:
    wandb.key, wandb.mode = key, mode
    refuse_unavailable("wandb")


def test_two_runs_are_two_runs_of_wandb(small_run: Callable[..., RunConfig], tmp_path: Path, wandb: FakeWandb) -> None:
    for name in ("one", "two"):
        make_logger(small_run("logger=wandb"), tmp_path / name).log({"epoch": 0, "reward_mean": 0.5})
    assert len(wandb.steps) == 2


def test_what_wandb_holds_already_goes_to_its_summary_alone(
    small_run: Callable[..., RunConfig], tmp_path: Path, wandb: FakeWandb
) -> None:
    make_logger(small_run("logger=wandb"), tmp_path).log({"epoch": 2, "reward_mean": 0.5})
    again = make_logger(small_run("logger=wandb"), tmp_path, first_epoch=2)
    again.log({"epoch": 2, "reward_mean": 0.25})
    again.log({"epoch": 2, "eval/jpeg": 0.75})
    assert list(wandb.steps.values()) == [{2: {"reward_mean": 0.5}}]
    assert again.run.summary == {"reward_mean": 0.25, "eval/jpeg": 0.75}  # type: ignore[attr-defined]


def test_wandb_without_a_key_is_refused_before_any_work(
    small_run: Callable[..., RunConfig], tmp_path: Path, wandb: FakeWandb
) -> None:
    wandb.key = None
    with pytest.raises(LoggerUnavailable, match="wandb login, or set WANDB_API_KEY, or set WANDB_MODE=offline"):
        train(small_run("logger=wandb"), tmp_path)
    assert not (tmp_path / "config.yaml").exists()
    (tmp_path / "mine.yaml").write_text("base: {epochs: 1, logger: wandb}\nseeds: [0]\n")
    assert cli.main(["run", str(tmp_path / "mine.yaml"), "--results", str(tmp_path)]) == 1
    assert not (tmp_path / "mine").exists()


def test_trackio_gets_every_row_at_its_epoch_and_knows_a_resumed_run_by_its_name(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, logged = ModuleType("trackio"), []

    def init(project: str, name: str, config: dict[str, Any], resume: str) -> SimpleNamespace:
        assert (project, config["logger"], resume) == ("ddpo-bench", "trackio", "allow")
        return SimpleNamespace(log=lambda values, step: logged.append((name, step, values)), finish=lambda: None)

    fake.__spec__ = ModuleSpec("trackio", None)
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", fake)
    folder = tmp_path / "ppo-12" / "seed-0"
    for epoch in (1, 2):
        logger = make_logger(small_run("logger=trackio"), folder, first_epoch=epoch)
        logger.log({"epoch": epoch, "reward_mean": 0.5})
        logger.close()
    assert logged == [("ppo-12/seed-0", epoch, {"reward_mean": 0.5}) for epoch in (1, 2)]


def test_tensorboard_drops_what_an_interrupted_session_logged_too_far(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int):
            purged.append(purge_step)

        def add_scalar(self, *value: Any) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    config = small_run("logger=tensorboard", "epochs=2", algorithm="frozen")

    def stop_in_its_last_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, stop_in_its_last_epoch)
    train(config, tmp_path)
    assert purged == [0, 2]


@pytest.mark.parametrize("logger", ["wandb", "trackio", "tensorboard"])
def test_a_logger_that_is_not_installed_is_named_with_its_remedy(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoggerUnavailable, match=rf"pip install 'ddpo-bench\[{logger}\]'") as raised:
        make_logger(small_run(f"logger={logger}"), tmp_path)
    assert "\n" not in str(raised.value)


def test_without_a_logger_nothing_further_is_imported_or_written(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run()
    monkeypatch.setattr(builtins, "__import__", lambda *args: pytest.fail("an import"))
    logger = make_logger(config, tmp_path)
    logger.log({"epoch": 1, "reward_mean": 0.5})
    logger.close()
    assert not list(tmp_path.iterdir())
