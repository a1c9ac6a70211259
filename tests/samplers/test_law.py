"""The Gaussian law against torch.distributions, in float64."""

from __future__ import annotations

import pytest
import torch
from ddpo_kernels import gaussian_log_prob, guided
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from ddpo_bench.samplers.law import GaussianLaw

SHAPE = (3, 2, 3, 5)


class Fixed(GaussianLaw):
    """A law with a given mean."""

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__(std)
        self.given = mean

    def form_mean(self) -> Tensor:
        return self.given


def normal(law: GaussianLaw) -> Independent:
    std = law.std.view(-1, 1, 1, 1).expand_as(law.mean)
    return Independent(Normal(law.mean, std), 3)


@pytest.fixture
def values() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two means, an x_prev and stds."""
    generator = torch.Generator().manual_seed(0)
    first, second, x_prev = torch.randn(3, *SHAPE, generator=generator, dtype=torch.float64)
    return first, second, x_prev, torch.tensor([0.03, 0.5, 2.0], dtype=torch.float64)


def test_log_prob_is_the_full_density_in_mean_units(values: tuple[Tensor, ...]) -> None:
    mean, _, x_prev, std = values
    law = Fixed(mean, std)
    torch.testing.assert_close(law.log_prob(x_prev), normal(law).log_prob(x_prev) / mean[0].numel())
    assert law.log_prob(x_prev).dtype == torch.float64


def test_kl_is_exact_and_symmetric_in_mean_units(values: tuple[Tensor, ...]) -> None:
    first, second, _, std = values
    p, q = Fixed(first, std), Fixed(second, std)
    exact = kl_divergence(normal(p), normal(q)) / first[0].numel()
    torch.testing.assert_close(p.kl(q), exact)
    torch.testing.assert_close(q.kl(p), exact)
    torch.testing.assert_close(p.kl(second), exact)
    assert torch.equal(p.kl(p), torch.zeros(3, dtype=torch.float64))


def test_a_sample_is_the_mean_plus_std_times_the_noise(values: tuple[Tensor, ...]) -> None:
    mean, _, noise, std = values
    law = Fixed(mean, std)
    torch.testing.assert_close((law.sample(noise) - mean) / std.view(3, 1, 1, 1), noise)


def test_log_prob_and_kl_have_the_gradients_of_finite_differences(values: tuple[Tensor, ...]) -> None:
    mean, other, x_prev, std = values
    assert torch.autograd.gradcheck(lambda m: Fixed(m, std).log_prob(x_prev), mean.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda m: Fixed(m, std).kl(other), mean.clone().requires_grad_())


def test_no_gradient_flows_into_the_stored_action(values: tuple[Tensor, ...]) -> None:
    mean, _, x_prev, std = values
    action = x_prev.clone().requires_grad_()
    gaussian_log_prob(action, mean.clone().requires_grad_(), std).sum().backward()
    assert action.grad is None


def test_guidance_moves_from_the_unconditional_output_through_the_conditional_one(values: tuple[Tensor, ...]) -> None:
    unconditional, conditional, _, _ = values
    both = torch.cat([unconditional, conditional])
    torch.testing.assert_close(guided(both, 3, 0.0), unconditional)
    torch.testing.assert_close(guided(both, 3, 1.0), conditional)
    torch.testing.assert_close(guided(both, 3, 7.5), 7.5 * conditional - 6.5 * unconditional)
    assert guided(conditional, 3, 7.5) is conditional
