"""The moving average of the weights: by hand, in evaluations, and over an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from run_rows import numbers

from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Policy
from ddpo_bench.training.checkpoint import load_newest
from ddpo_bench.training.ema import Ema
from ddpo_bench.training.generate import sample_images
from ddpo_bench.training.trainer import train

MakeConfig = Callable[..., RunConfig]


def test_the_average_is_that_of_the_weights_after_each_step_by_hand() -> None:
    weight, critic = torch.nn.Parameter(torch.tensor([8.0])), torch.nn.Parameter(torch.zeros(1))
    ema = Ema(cast(Policy, SimpleNamespace(parameters=lambda: [weight])), 0.75)
    optimisers = [torch.optim.SGD([parameter], lr=4.0) for parameter in (weight, critic)]
    weight.grad, critic.grad = torch.ones(1), torch.ones(1)
    with ema.following():
        for _ in range(2):
            for optimiser in optimisers:  # one that holds other weights does not count
                optimiser.step()
    optimisers[0].step()  # nor one that steps when nobody follows
    assert weight.item() == -4
    with ema.in_place():
        assert weight.item() == 0.75 * (0.75 * 8 + 0.25 * 4) + 0.25 * 0
    assert weight.item() == -4


def test_evaluations_and_pictures_use_the_average_and_an_interrupted_run_ends_with_the_same(
    tiny_run: MakeConfig, tmp_path: Path
) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2 and "sampled" not in row:
            raise KeyboardInterrupt

    config = tiny_run("ema=0.9")
    train(tiny_run(), tmp_path / "without")
    train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", stop)
    train(config, tmp_path / "stopped")
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")
    first, *epochs, last = zip(numbers(tmp_path / "whole"), numbers(tmp_path / "without"), strict=True)
    assert all(ours == other for ours, other in (first, *epochs))
    assert 0 < last[0]["eval/kl_reference"] < last[1]["eval/kl_reference"]
    one, other = (load_newest(tmp_path / name, torch.device("cpu")) for name in ("stopped", "whole"))
    assert one
    assert other
    assert str(one["ema"]) == str(other["ema"])
    pictures = [sample_images(config, ["rain"], 0, tmp_path / name) for name in ("whole", "without")]
    assert not np.array_equal(*pictures)
