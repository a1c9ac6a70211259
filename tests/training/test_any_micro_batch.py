"""Runs give the same numbers whatever the micro-batch: for every policy family, sampler and algorithm, in fp32.

Noise, prompts and shuffles are the same bits.  What is left is rounding, since a network may round differently at
another batch size, and Adam carries it on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from every_plugin import NEEDS, OPTIONS, fits, make, policy_for
from run_rows import numbers

from ddpo_bench.config import RunConfig
from ddpo_bench.options import options_of
from ddpo_bench.registry import get, names
from ddpo_bench.training.trainer import train

RELATIVE = 1e-3  # 1e-7 of a sum of terms that cancel to a thousandth of them, and a few updates of Adam
ABSOLUTE = 1e-6  # of metrics that are 0 but for rounding: ratios less 1, KL of a policy to itself, losses at ratio 1
Train = Callable[..., list[dict[str, Any]]]


def combinations() -> list[Any]:
    """All of them; on the small made-up networks, each algorithm and each sampler at least once is not `long`."""
    found = []
    for policy, sampler, algorithm in itertools.product(names("policy"), names("sampler"), names("algorithm")):
        if fits(make("sampler", sampler), make("policy", policy).stored_scheduler_config()):
            small = policy == policy_for(make("sampler", sampler))
            quick = small and (algorithm == "ppo" or sampler == names("sampler")[0])
            found.append(pytest.param(policy, sampler, algorithm, marks=[] if quick else pytest.mark.long))
    return found


@pytest.fixture
def train_in(tiny_run: Callable[..., RunConfig], tiny_model: Path, tmp_path: Path) -> Train:
    def run(
        policy: str, sampler: str, algorithm: str, micro_batch: int, folder: str = "", epochs: int = 2
    ) -> list[dict[str, Any]]:
        options = {"model": str(tiny_model), "precision": "fp32"}
        known = options_of(get("policy", policy))
        changes: dict[str, Any] = {
            "policy": {"name": policy} | {key: value for key, value in options.items() if key in known},
            "sampler": {"name": sampler, "steps": 3},
            "algorithm": {"name": algorithm} | OPTIONS.get(("algorithm", algorithm), {}),
            "reward": "redness",
            "advantages": "batch",
            "samples_per_epoch": 8,  # at 16 all of them at once, at 3 the last two
            "epochs": epochs,
            "micro_batch": micro_batch,
        }
        config = tiny_run(**changes | NEEDS.get(("algorithm", algorithm), {}))
        place = tmp_path / (folder or f"{micro_batch}")
        train(config, place)
        return numbers(place)

    return run


def assert_equal_but_for_rounding(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=RELATIVE, abs=ABSOLUTE)


@pytest.mark.parametrize(("policy", "sampler", "algorithm"), combinations())
def test_the_micro_batch_changes_a_runs_numbers_by_rounding_alone(
    train_in: Train, policy: str, sampler: str, algorithm: str
) -> None:
    combination = policy, sampler, algorithm
    whole, one, three = (train_in(*combination, size) for size in (16, 1, 3))
    assert_equal_but_for_rounding(one, whole)
    assert_equal_but_for_rounding(three, whole)
    assert train_in(*combination, 3, "again") == three
    assert {row.get("ratio_deviation_max", 0) for row in one} == {0}  # sampled and learned from one by one


def test_a_run_resumes_with_another_micro_batch(train_in: Train) -> None:
    combination = "pooled_diffusion", "ddim", "ppo"
    train_in(*combination, 16, "resumed", epochs=1)
    assert_equal_but_for_rounding(
        train_in(*combination, 3, "resumed", epochs=3)[-1:], train_in(*combination, 16, epochs=3)[-1:]
    )
