"""A run's numbers are the same on one, two or three processes: in the combinations of `every_combination`, in fp32.

What is left is rounding: of sums in another order, and of a network at another batch size.  Nothing divides: 10 samples
in micro-batches of 3 on 3 processes, of which one then repeats a sample for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from every_combination import assert_equal_but_for_rounding, combinations, run_of
from process_group import Group, group_of
from run_rows import numbers

from ddpo_bench import processes
from ddpo_bench.config import RunConfig
from ddpo_bench.process_errors import ProcessLost
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.training import trainer

Make = Callable[..., RunConfig]
QUICK = {("ddim", name) for name in ("ppo", "trpo_penalty", "sac", "rwr")}


@pytest.fixture(scope="module")
def groups() -> Iterator[list[Group]]:
    with group_of(2) as two, group_of(3) as three:
        yield [two, three]


@pytest.fixture
def run(tiny_run: Make, tiny_pipeline: Callable[[str], Path]) -> Make:
    def make(policy: str, sampler: str, algorithm: str, **changes: Any) -> RunConfig:
        sizes = {"samples_per_epoch": 10, "micro_batch": 3, "epochs": 2}
        return run_of(tiny_run, tiny_pipeline, policy, sampler, algorithm, **sizes | changes)

    return make


def trained_weights(config: RunConfig, folder: Path) -> str:
    """Train, and return a hash of the weights that this process then has."""
    found = []

    def snapshot(parts: dict[str, Any], *others: Any) -> dict[str, Any]:
        bits = [weight.detach().numpy().tobytes() for weight in parts["policy"].parameters()]
        found.append(hashlib.sha256(b"".join(bits)).hexdigest())
        return original(parts, *others)

    original = trainer.snapshot
    with mock.patch.object(trainer, "snapshot", snapshot):
        trainer.train(config, folder)
    return found[-1]


def train_where_one_reward_fails(config: RunConfig, folder: Path) -> None:
    failing = mock.patch("ddpo_bench.training.scoring.score", side_effect=RewardError("its model is not there"))
    with failing if processes.rank() == 1 else mock.MagicMock():
        trainer.train(config, folder)


def train_until_the_second_is_gone(config: RunConfig, folder: Path, error: Exception | None) -> None:
    """In the second process an epoch ends with an error, or with SIGKILL."""
    if processes.rank() == 0:
        return trainer.train(config, folder)
    ends = mock.Mock(side_effect=error or (lambda device: os.kill(os.getpid(), signal.SIGKILL)))
    try:
        with mock.patch.object(trainer, "peak_memory_mb", ends):
            return trainer.train(config, folder)
    finally:
        os._exit(1)


@pytest.mark.parametrize(
    ("policy", "sampler", "algorithm"), combinations(lambda sampler, algorithm: (sampler, algorithm) in QUICK)
)
def test_processes_change_a_runs_numbers_by_rounding_alone(
    run: Make, groups: list[Group], tmp_path: Path, policy: str, sampler: str, algorithm: str
) -> None:
    config = run(policy, sampler, algorithm)
    trainer.train(config, tmp_path / "1")
    for group in groups if algorithm == "ppo" else groups[1:]:  # what two can do wrong, three can
        place = tmp_path / f"{len(group.processes)}"
        weights = group.call(trained_weights, config, place)
        assert len(set(weights)) == 1, weights  # replicas make the same steps, to the bit
        assert_equal_but_for_rounding(numbers(place), numbers(tmp_path / "1"))


def test_normalised_rewards_are_of_the_samples_of_all_processes(run: Make, groups: list[Group], tmp_path: Path) -> None:
    parts = [
        {"reward": "jpeg_compressibility", "normalise": "running"},
        {"reward": "target_colour", "normalise": "group", "weight": 2},
    ]
    config = run(
        "pooled_diffusion", "ddim", "ppo", samples_per_prompt=2, reward={"name": "combined", "parts": parts}
    )  # fmt: skip
    trainer.train(config, tmp_path / "1")
    groups[1].call(trainer.train, config, tmp_path / "3")
    assert_equal_but_for_rounding(numbers(tmp_path / "3"), numbers(tmp_path / "1"))


def test_a_run_resumes_on_another_number_of_processes(run: Make, groups: list[Group], tmp_path: Path) -> None:
    combination = "pooled_diffusion", "ddim", "ppo"
    for epochs, group in zip((1, 2), groups, strict=True):
        assert set(group.call(trainer.train, run(*combination, epochs=epochs), tmp_path / "moved")) == {None}
    for place in ("moved", "alone"):
        trainer.train(run(*combination, epochs=3), tmp_path / place)
    assert_equal_but_for_rounding(numbers(tmp_path / "moved")[-2:], numbers(tmp_path / "alone")[-2:])


def test_a_reward_that_raises_on_one_process_fails_the_run_with_its_words(
    run: Make, groups: list[Group], tmp_path: Path
) -> None:
    for error in groups[1].call(train_where_one_reward_fails, run("pooled_diffusion", "ddim", "ppo"), tmp_path):
        assert (type(error), str(error)) == (RewardError, "its model is not there")
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", "RewardError: its model is not there")


@pytest.mark.parametrize("error", [None, ValueError("out of memory")])
def test_a_process_that_is_gone_ends_the_run_with_what_it_told(
    run: Make, tmp_path: Path, error: Exception | None
) -> None:
    with group_of(2) as group:
        for pipe in group.pipes:
            pipe.send((train_until_the_second_is_gone, (run("pooled_diffusion", "ddim", "ppo"), tmp_path, error)))
        ended = group.pipes[0].recv()
    status = json.loads((tmp_path / "status.json").read_text())
    if error:
        assert (type(ended), str(ended)) == (ValueError, "out of memory")
        assert (status["state"], status["reason"]) == ("failed", "ValueError: out of memory")
    else:
        assert isinstance(ended, ProcessLost)
        assert (status["state"], status["reason"]) == ("killed", "another of the run's 2 processes is gone")
