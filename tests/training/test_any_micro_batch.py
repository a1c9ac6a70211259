"""Runs give the same numbers whatever the micro-batch: in the combinations of `every_combination`, in fp32.

Noise, prompts and shuffles are the same bits.  What is left is rounding, since a network may round differently at
another batch size, and Adam carries it on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from every_combination import assert_equal_but_for_rounding, combinations, run_of
from run_rows import numbers

from ddpo_bench.config import RunConfig
from ddpo_bench.training.trainer import train

Train = Callable[..., list[dict[str, Any]]]


def is_quick(sampler: str, algorithm: str) -> bool:
    """Each algorithm and each sampler at least once."""
    return algorithm == "ppo" or sampler != "flow_sde"


@pytest.fixture
def train_in(tiny_run: Callable[..., RunConfig], tiny_pipeline: Callable[[str], Path], tmp_path: Path) -> Train:
    def run(
        policy: str, sampler: str, algorithm: str, micro_batch: int, folder: str = "", epochs: int = 2
    ) -> list[dict[str, Any]]:
        config = run_of(
            tiny_run, tiny_pipeline, policy, sampler, algorithm,
            advantages="batch",
            samples_per_epoch=8,  # at 16 all of them at once, at 3 the last two
            epochs=epochs,
            micro_batch=micro_batch,
        )  # fmt: skip
        place = tmp_path / (folder or f"{micro_batch}")
        train(config, place)
        return numbers(place)

    return run


@pytest.mark.parametrize(("policy", "sampler", "algorithm"), combinations(is_quick))
def test_the_micro_batch_changes_a_runs_numbers_by_rounding_alone(
    train_in: Train, policy: str, sampler: str, algorithm: str
) -> None:
    whole, three = (train_in(policy, sampler, algorithm, size) for size in (16, 3))
    assert_equal_but_for_rounding(three, whole)
    if algorithm == "ppo":
        one = train_in(policy, sampler, algorithm, 1)
        assert_equal_but_for_rounding(one, whole)
        assert {row["ratio_deviation_max"] for row in one if "queries" in row} == {0}  # drawn and learned one by one


def test_a_run_resumes_with_another_micro_batch(train_in: Train) -> None:
    combination = "pooled_diffusion", "ddim", "ppo"
    train_in(*combination, 16, "resumed", epochs=1)
    assert_equal_but_for_rounding(
        train_in(*combination, 3, "resumed", epochs=3)[-1:], train_in(*combination, 16, epochs=3)[-1:]
    )
