"""The recipe's training loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpo_bench.embedded import fit as fitting
from ddpo_bench.embedded.fit import Schedule, fit, orthogonalise


def regression(model: nn.Module, seed: tuple[int, int], size: int) -> Tensor:
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed[0]))
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (32, 8)])
def test_orthogonalised_updates_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_fitting_lowers_the_loss(tmp_path: Path) -> None:
    before = regression(network(), (999, 0), 256).item()
    model = fit("toy", network(), regression, Schedule(steps=300, batch=32), tmp_path)
    assert regression(model, (999, 0), 256).item() < 0.2 * before


def test_an_interrupted_stage_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 10)
    schedule = Schedule(steps=40, batch=8)
    whole = fit("toy", network(), regression, schedule, tmp_path / "whole")

    def stops(model: nn.Module, seed: tuple[int, int], size: int) -> Tensor:
        if seed[0] == 25:
            raise KeyboardInterrupt
        return regression(model, seed, size)

    with pytest.raises(KeyboardInterrupt):
        fit("toy", network(), stops, schedule, tmp_path / "broken")
    resumed = fit("toy", network(), regression, schedule, tmp_path / "broken")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
