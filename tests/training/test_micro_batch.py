"""What `micro_batch: auto` chooses, remembers and leaves as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_rows import numbers

from ddpo_bench.config import RunConfig
from ddpo_bench.training import micro_batch
from ddpo_bench.training.micro_batch import OutOfMemory, for_pictures, largest_that_fits
from ddpo_bench.training.trainer import train

MakeConfig = Callable[..., RunConfig]


def memory_of(most: int, tried: list[int]) -> Callable[[int], None]:
    def trial(samples: int) -> None:
        tried.append(samples)
        if samples > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return trial


@pytest.mark.parametrize(
    ("most", "tried"), [(1000, [96]), (95, [96, 48]), (47, [96, 48, 24]), (4, [96, 48, 24, 12, 6, 3]), (1, None)]
)
def test_halves_are_tried_until_one_fits(most: int, tried: list[int] | None) -> None:
    seen: list[int] = []
    found = largest_that_fits(memory_of(most, seen), 96)
    assert found == seen[-1] <= most
    assert tried is None or seen == tried


def test_a_model_too_large_for_one_sample_says_what_to_do() -> None:
    with pytest.raises(OutOfMemory, match="not even one sample fits"):
        largest_that_fits(memory_of(0, []), 3)


def test_an_error_other_than_memory_is_not_hidden() -> None:
    def broken(samples: int) -> None:
        raise ValueError("no such kernel")

    with pytest.raises(ValueError, match="no such kernel"):
        largest_that_fits(broken, 4)


def test_auto_on_a_cpu_is_the_epoch_and_changes_no_number(small_run: MakeConfig, tmp_path: Path) -> None:
    for name, size in (("auto", "auto"), ("four", 4)):
        train(small_run(f"micro_batch={size}", "epochs=1"), tmp_path / name)
    assert json.loads((tmp_path / "auto" / "provenance.json").read_text())["micro_batch"] == 4
    assert numbers(tmp_path / "auto") == numbers(tmp_path / "four")
    assert for_pictures(small_run("micro_batch=auto"), tmp_path / "auto") == 4


def test_a_resumed_run_and_other_seeds_take_what_was_found_before(
    small_run: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run("micro_batch=auto", "epochs=1")
    train(config, tmp_path / "seed-0")
    monkeypatch.setattr(micro_batch, "most_on_a_cpu", lambda trial: 1)  # as if memory had become scarce
    for seed, changes, expected in ((1, [], 4), (0, ["epochs=2"], 4), (2, ["sampler.steps=3"], 1)):
        train(small_run("micro_batch=auto", "epochs=1", f"seed={seed}", *changes), tmp_path / f"seed-{seed}")
        found = json.loads((tmp_path / f"seed-{seed}" / "provenance.json").read_text())["micro_batch"]
        assert found == expected
