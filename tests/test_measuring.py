"""Measuring takes a small share of an epoch's network passes, and its estimates are unbiased."""

from __future__ import annotations

import pytest
import torch

from ddpo_bench.measuring import LEARNING, MOST, NetworkPasses, spread


@pytest.mark.parametrize("samples", [2, 8, 16, 128, 1000])
@pytest.mark.parametrize("steps", [10, 20, 50])
@pytest.mark.parametrize("learned", [0.0, 0.1, 1.0, 4.0])
def test_all_figures_together_take_a_fortieth_of_an_epochs_passes_at_most(
    samples: int, steps: int, learned: float
) -> None:
    passes = NetworkPasses(work=samples * steps)
    granted = passes.grant(0.5)  # before learning, as sac measures
    passes.work += LEARNING * int(learned * samples * steps)
    granted += passes.grant(0.5) + passes.grant(1.0)
    assert granted == passes.measuring <= 3 * MOST
    assert passes.measuring_fraction <= (0.025 if samples * steps >= 120 else 0.15)


def test_every_figure_is_measured_on_one_transition_at_least() -> None:
    passes = NetworkPasses(work=8)
    assert [passes.grant(0.5), passes.grant(1.0)] == [1, 1]
    assert passes.measuring_fraction == 0.2


@pytest.mark.parametrize(("count", "samples", "steps"), [(8, 8, 10), (3, 5, 50), (64, 16, 20), (100, 7, 4), (1, 1, 1)])
def test_measured_transitions_lie_evenly_over_steps_and_samples(count: int, samples: int, steps: int) -> None:
    chosen, places = spread(count, samples, steps, torch.Generator().manual_seed(0))
    for indices, size in ((chosen, samples), (places, steps)):
        counts = indices.bincount(minlength=size)
        assert len(counts) == size
        assert counts.sum() == count
        assert counts.max() - counts.min() <= 1


def test_every_transition_is_measured_as_often_as_any_other() -> None:
    """The mean over many draws of a figure that differs between transitions is its mean over all of them."""
    generator = torch.Generator().manual_seed(0)
    figure = torch.arange(10.0)[:, None] ** 3 + torch.arange(4.0)  # [T, N]
    draws = torch.stack([figure_of(figure, generator) for _ in range(4000)])
    error = draws.std() / len(draws) ** 0.5
    assert (draws.mean() - figure.mean()).abs() < 4 * error < 0.03 * figure.mean()


def figure_of(figure: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    chosen, places = spread(3, 4, 10, generator)
    return figure[places, chosen].mean()
