"""What every sampler promises: this covers a new one the moment it is registered."""

from __future__ import annotations

import pytest
import torch
from every_plugin import fits, make, scheduler_for
from torch import Tensor

from ddpo_bench.protocols import Sampler
from ddpo_bench.registry import names

SHAPE = (4, 3, 5)


@pytest.fixture(params=names("sampler"))
def sampler(request: pytest.FixtureRequest) -> Sampler:
    made = make("sampler", request.param)
    made.start(scheduler_for(made), torch.device("cpu"))
    return made


def test_timesteps_descend_and_number_the_steps(sampler: Sampler) -> None:
    timesteps = sampler.timesteps.tolist()
    assert len(timesteps) == sampler.steps
    assert timesteps == sorted(set(timesteps), reverse=True)


def test_noisy_steps_have_a_density_and_the_others_no_noise(sampler: Sampler) -> None:
    count, noisy = len(sampler.timesteps), list(sampler.noisy_steps)
    output, x_t, noise = torch.randn(3, count, *SHAPE, generator=torch.Generator().manual_seed(0))
    law = sampler.law(output, x_t, torch.arange(count), 1.0)
    x_prev, log_prob = law.draw(noise)
    assert law.mean.shape == x_prev.shape == x_t.shape
    assert torch.isfinite(x_prev).all()
    assert torch.isfinite(log_prob).all()
    assert torch.nonzero(law.std).flatten().tolist() == noisy
    still = torch.ones(count, dtype=torch.bool)
    still[noisy] = False
    assert torch.equal(x_prev[still], law.mean[still])
    density = torch.distributions.Normal(law.mean[noisy], law.std[noisy].view(-1, 1, 1, 1)).log_prob(x_prev[noisy])
    torch.testing.assert_close(law.log_prob(x_prev)[noisy], density.mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert torch.equal(law.log_prob(x_prev), log_prob)


def test_a_law_is_no_distance_from_itself_and_some_from_another(sampler: Sampler) -> None:
    count = len(sampler.timesteps)
    output, x_t = torch.randn(2, count, *SHAPE, generator=torch.Generator().manual_seed(0))
    law, other = (sampler.law(m, x_t, torch.arange(count), 1.0) for m in (output, output + 1))
    assert torch.equal(law.kl(law), torch.zeros(count))
    assert torch.nonzero(law.kl(other)).flatten().tolist() == list(sampler.noisy_steps)
    torch.testing.assert_close(law.kl(other), law.kl(other.mean))


def test_guidance_is_part_of_the_law(sampler: Sampler) -> None:
    x_t, conditional, unconditional = torch.randn(3, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0, len(sampler.timesteps) - 1])
    both = torch.cat([unconditional, conditional])
    guided = sampler.law(both, x_t, step, 3.0)
    expected = sampler.law(unconditional + 3 * (conditional - unconditional), x_t, step, 1.0)
    torch.testing.assert_close(guided.mean, expected.mean)
    assert not torch.allclose(guided.mean, sampler.law(conditional, x_t, step, 1.0).mean)


def test_the_log_prob_of_a_noisy_step_is_differentiable_in_the_model_output(sampler: Sampler) -> None:
    output, x_t, x_prev = torch.randn(3, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    output.requires_grad_()
    sampler.law(output, x_t, torch.tensor([0, 1]), 1.0).log_prob(x_prev).sum().backward()
    assert output.grad is not None
    assert (output.grad != 0).any().item() is bool(sampler.noisy_steps)


def test_a_perfect_model_walks_the_forward_process_back(sampler: Sampler) -> None:
    """The law of a model that predicts the target leads to the marginal of the next step.

    Both are linear in x_0 and the noise: their coefficients are compared, those of all noise as a standard deviation.
    """
    step = torch.arange(len(sampler.timesteps) - 1)
    one, zero = torch.ones(len(step), *SHAPE), torch.zeros(len(step), *SHAPE)

    def mean(x_0: Tensor, noise: Tensor) -> Tensor:
        x_t, target = sampler.noised(x_0, noise, step)
        return sampler.law(target, x_t, step, 1.0).mean

    std = sampler.law(zero, zero, step, 1.0).std.view(-1, 1, 1, 1)
    torch.testing.assert_close(mean(one, zero), sampler.noised(one, zero, step + 1)[0], rtol=0, atol=1e-5)
    noise = (mean(zero, one).square() + std.square()).sqrt()
    error = (noise - sampler.noised(zero, one, step + 1)[0]).abs()
    assert error.mean() < 0.05  # an SDE is exact as steps become many; at few, its last steps leave noise


def test_a_scheduler_of_another_process_is_refused_in_a_line_that_begins_with_the_key(sampler: Sampler) -> None:
    schedulers = [make("policy", policy).scheduler_config for policy in ("pooled", "pooled_diffusion")]
    for other in (scheduler for scheduler in schedulers if not fits(sampler, scheduler)):
        for ask in (sampler.fits, lambda scheduler: sampler.start(scheduler, torch.device("cpu"))):
            with pytest.raises(ValueError, match=r"^(policy\.model|sampler(\.\w+)?): .+$"):
                ask(other)
