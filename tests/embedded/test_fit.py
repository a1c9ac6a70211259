"""The recipe's training loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpo_bench.embedded import fit as fitting
from ddpo_bench.embedded.fit import Schedule, fit, orthogonalise


class Regression:
    """Learns to add."""

    def batch(self, seed: tuple[int, int], size: int) -> Tensor:
        return torch.randn(size, 4, generator=torch.Generator().manual_seed(seed[0]))

    def loss(self, model: nn.Module, x: Tensor, seed: tuple[int, int]) -> Tensor:
        return (model(x) - x.sum(1, keepdim=True)).square().mean()


def error(model: nn.Module) -> float:
    task = Regression()
    return task.loss(model, task.batch((999, 0), 256), (999, 0)).item()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (32, 8)])
def test_orthogonalised_updates_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_fitting_lowers_the_loss(tmp_path: Path) -> None:
    before = error(network())
    model = fit("toy", network(), Regression(), Schedule(steps=300, batch=32), tmp_path)
    assert error(model) < 0.2 * before


def test_an_interrupted_stage_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 10)
    schedule = Schedule(steps=40, batch=8)
    whole = fit("toy", network(), Regression(), schedule, tmp_path / "whole")

    class Stops(Regression):
        def loss(self, model: nn.Module, x: Tensor, seed: tuple[int, int]) -> Tensor:
            if seed[0] == 25:
                raise KeyboardInterrupt
            return super().loss(model, x, seed)

    with pytest.raises(KeyboardInterrupt):
        fit("toy", network(), Stops(), schedule, tmp_path / "broken")
    resumed = fit("toy", network(), Regression(), schedule, tmp_path / "broken")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
