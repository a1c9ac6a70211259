"""Whole runs with weights sharded over two processes (FSDP2): metrics and checkpoints of runs on one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from every_combination import assert_equal_but_for_rounding
from every_plugin import NEEDS, OPTIONS
from process_group import Group, group_of
from run_rows import numbers

from ddpo_bench.config import RunConfig
from ddpo_bench.training.trainer import train

FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}


def train_sharded(config: RunConfig, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FSDP2.items():
            patch.setenv(name, value)
        train(config, folder)


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    with group_of(2) as group:
        yield group


@pytest.fixture
def run_of(tiny_run: Callable[..., RunConfig], tiny_model: Path) -> Callable[..., RunConfig]:
    def make(algorithm: str, adapter: str, epochs: int) -> RunConfig:
        chosen = {
            "policy": {
                "name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32", "adapter": {"name": adapter},
            },
            "algorithm": {"name": algorithm} | OPTIONS.get(("algorithm", algorithm), {}),
            "reward": "redness",
            "advantages": "batch",
            "samples_per_epoch": 5,
            "epochs": epochs,
            "ema": 0.5,
        }  # fmt: skip
        return tiny_run(**chosen | NEEDS.get(("algorithm", algorithm), {}))

    return make


def last_rows(folder: Path) -> list[dict[str, Any]]:
    """Those of the last epoch and its evaluation."""
    return numbers(folder)[-2:]


@pytest.mark.long
@pytest.mark.parametrize(
    ("algorithm", "adapter"),
    [
        ("sac", "lora"),
        ("ppo", "full"),
        ("nft", "lora"),
        ("draft", "lora"),
    ],
)
def test_a_sharded_run_has_the_numbers_of_one_process_and_each_resumes_the_others(
    two: Group, run_of: Callable[..., RunConfig], tmp_path: Path, algorithm: str, adapter: str
) -> None:
    half, whole = (run_of(algorithm, adapter, epochs) for epochs in (2, 3))
    one, sharded, from_one = (tmp_path / name for name in ("one", "sharded", "from_one"))
    train(whole, one)
    assert two.call(train_sharded, half, sharded) == [None, None]
    train(whole, sharded)
    assert_equal_but_for_rounding(last_rows(sharded), last_rows(one))
    train(half, from_one)
    assert two.call(train_sharded, whole, from_one) == [None, None]
    assert_equal_but_for_rounding(last_rows(from_one), last_rows(one))
