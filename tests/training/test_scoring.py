"""Rewards that are scored while others are sampled, that fail, and that stall: no number changes, nothing is lost."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from run_rows import numbers, rows_of
from torch import Tensor

from ddpo_bench.config import RunConfig, Scoring
from ddpo_bench.protocols import Reward, RewardOutput
from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import FAILURE, RewardError
from ddpo_bench.rewards.jpeg import jpeg_kilobytes
from ddpo_bench.training import scoring
from ddpo_bench.training.overlap import is_apart
from ddpo_bench.training.scoring import scores
from ddpo_bench.training.trainer import train

MakeConfig = Callable[..., RunConfig]
CPU = torch.device("cpu")


@dataclass
class Scripted(Reward):
    """Minus the size of a JPEG; a call may do something else first, as a script says by the number of the call."""

    script: Callable[[int, Tensor], Any] = lambda number, images: None
    calls: list[tuple[int, bool]] = field(default_factory=list)
    label = "scripted"

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[dict[str, Any]]) -> RewardOutput:
        self.calls.append((len(images), threading.current_thread() is threading.main_thread()))
        instead = self.script(len(self.calls), images)
        return RewardOutput(-jpeg_kilobytes(images) if instead is None else instead)


@dataclass
class Distant(Scripted):
    waits_for = "network"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    taken: list[float] = []
    monkeypatch.setattr(scoring, "sleep", taken.append)
    return taken


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reward], None]:
    """Makes runs that ask for jpeg_compressibility get this reward."""
    return lambda reward: monkeypatch.setattr(get("reward", "jpeg_compressibility"), "__new__", lambda cls: reward)


def stop_at(row: int) -> Callable[[dict[str, Any]], None]:
    """Called with rows, raises at the n-th, before the checkpoint that follows it."""
    left = iter(range(row - 1, -1, -1))

    def on_row(found: dict[str, Any]) -> None:
        if "sampled" not in found and not next(left):
            raise KeyboardInterrupt

    return on_row


def test_overlapped_scores_are_those_of_waiting_also_in_a_run_that_is_interrupted(
    tiny_run: MakeConfig, tmp_path: Path, trained_on: Callable[[Reward], None]
) -> None:
    size = {"reward": "jpeg_incompressibility", "normalise": "running"}
    judge = {"name": "combined", "parts": [size], "samples": 2}  # learns its scale from the first evaluation
    config = tiny_run(evaluation={"samples": 3, "every": 1, "judges": [judge, "target_colour"]})
    waiting, distant = Scripted(), Distant()
    trained_on(waiting)
    train(config, tmp_path / "waiting")
    trained_on(distant)
    for row in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "overlapped", stop_at(row))
    train(config, tmp_path / "overlapped")
    assert numbers(tmp_path / "overlapped") == numbers(tmp_path / "waiting")
    assert waiting.calls[:2] == [(3, True), (4, True)]
    assert distant.calls[:3] == [(3, False), (2, False), (2, False)]
    for row in rows_of(tmp_path / "overlapped"):
        where = "seconds_reward" if "queries" in row else "seconds_eval_reward"
        assert row[where] >= 0
        assert row[f"{where}_overlapped"] > 0


def test_what_is_apart_from_the_policy() -> None:
    class OnAGPU(Reward):
        waits_for = "gpu"
        device = "cuda:1"

    placed, cuda = OnAGPU(), torch.device("cuda", 0)
    assert is_apart(placed, cuda)
    assert not is_apart(placed, torch.device("cuda", 1))
    placed.device = "cuda"
    assert not is_apart(placed, cuda)
    placed.device = "cpu"
    assert is_apart(placed, cuda)
    assert not is_apart(placed, CPU)
    assert not is_apart(Scripted(), cuda)


def of(reward: Reward, count: int = 4, **settings: Any) -> RewardOutput:
    """Scores of images, two at a time where they may be added while others are sampled."""
    images = torch.linspace(0, 1, count).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    with scores(reward, Scoring(**settings), CPU) as own:
        for part in images.split(2 if own.is_apart else count):
            own.add(part, ["rain"] * len(part), [{}] * len(part))
        return own.output()


def raising(error: Exception, calls: range) -> Callable[[int, Tensor], None]:
    def script(number: int, images: Tensor) -> None:
        if number in calls:
            raise error

    return script


@pytest.mark.parametrize("kind", [Scripted, Distant])
def test_lost_connections_are_tried_again_and_mistakes_are_not(kind: type[Scripted], pauses: list[float]) -> None:
    assert torch.equal(of(kind(raising(ConnectionError("gone"), range(1, 3)))).scores, of(kind()).scores)
    assert pauses == [1, 4]
    with pytest.raises(RewardError, match=r"ConnectionError: gone"):
        of(kind(raising(ConnectionError("gone"), range(1, 9))), 2)
    assert len(pauses) == 4
    mistaken = kind(raising(ValueError("no such colour"), range(1, 9)))
    with pytest.raises(RewardError, match=r"reward scripted: ValueError: no such colour"):
        of(mistaken, 2)
    assert len(pauses) == 4


def test_only_the_images_that_a_reward_cannot_score_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    expected = of(Scripted()).scores

    def nan_for_white(number: int, images: Tensor) -> Tensor:
        return torch.where(images[:, 0, 0, 0] == 1, math.nan, -jpeg_kilobytes(images))

    def no_black(number: int, images: Tensor) -> None:
        assert images.flatten(1).sum(1).all(), "too dark"

    for script, dropped, why in [(nan_for_white, 3, "not finite"), (no_black, 0, "AssertionError: too dark")]:
        found = of(Scripted(script), on_error="drop")
        kept = [n for n in range(4) if n != dropped]
        assert torch.equal(found.scores[kept], expected[kept])
        assert found.scores[dropped].isnan()
        assert why in found.info[FAILURE][dropped]
        assert found.info[FAILURE].count("") == 3
        assert "1 images dropped: reward scripted" in capsys.readouterr().err


@pytest.fixture
def forever() -> Iterator[threading.Event]:
    """Does not happen before the end of the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("kind", [Scripted, Distant])
def test_a_reward_that_stalls_fails_in_time(kind: type[Scripted], forever: threading.Event) -> None:
    stalling = kind(lambda number, images: forever.wait() and None if number == 1 else None)
    with pytest.raises(RewardError, match=r"reward scripted: no scores of [24] images within 0.05 s"):
        of(stalling, timeout=0.05)


def test_what_stalls_is_dropped_alone(forever: threading.Event) -> None:
    stalling = Distant(lambda number, images: forever.wait() and None if number == 1 else None)
    found = of(stalling, timeout=0.2, on_error="drop").scores
    assert found.isnan().tolist() == [True, True, False, False]
    assert torch.equal(found[2:], of(Distant()).scores[2:])


def test_a_run_whose_reward_fails_says_why_and_resumes_once_it_is_mended(
    tiny_run: MakeConfig, tmp_path: Path, trained_on: Callable[[Reward], None]
) -> None:
    config = tiny_run()
    trained_on(Distant())
    train(config, tmp_path / "whole")
    trained_on(Distant(lambda number, images: images.new_zeros(7) if number == 5 else None))  # in the second epoch
    with pytest.raises(RewardError, match=r"returned scores of shape \[7\] for 2 images"):
        train(config, tmp_path / "failed")
    status = json.loads((tmp_path / "failed" / "status.json").read_text())
    assert (status["state"], status["epoch"]) == ("failed", 1)
    assert "returned scores of shape [7]" in status["reason"]
    trained_on(Distant())
    train(config, tmp_path / "failed")
    assert numbers(tmp_path / "failed") == numbers(tmp_path / "whole")
