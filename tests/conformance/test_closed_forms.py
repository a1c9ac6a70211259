"""The closed forms that step functions are judged by, against diffusers' own steps, torch and finite differences."""

from __future__ import annotations

import pytest
import torch

from ddpo_bench.conformance.closed_forms import ExactLaw, ddim_law, flow_law, log_prob, spread
from ddpo_bench.conformance.conventions import ddim_scheduler, flow_scheduler

MODEL_OUTPUT, SAMPLE = torch.randn(2, 3, 2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("index", [0, 5, 9])
def test_ddims_law_is_that_of_diffusers_whose_noise_is_given(prediction: str, index: int) -> None:
    scheduler = ddim_scheduler(prediction)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    timestep = scheduler.timesteps[index]
    mean, shifted = (
        scheduler.step(MODEL_OUTPUT, timestep, SAMPLE, 0.7, variance_noise=torch.full_like(SAMPLE, z)).prev_sample
        for z in (0, 1)
    )
    law = ddim_law(scheduler, MODEL_OUTPUT, timestep.expand(3), SAMPLE, 0.7)
    torch.testing.assert_close(law.mean, mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(spread(law.std).expand_as(mean), shifted - mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("index", [0, 5, 9])
def test_flows_law_follows_from_the_marginal_that_it_keeps(index: int) -> None:
    """The SDE has the ODE's marginals: its drift is v - g^2/2 score, and a Gaussian's score is -e_hat / s."""
    scheduler = flow_scheduler("velocity")
    timestep = scheduler.timesteps[index].expand(3)
    law, ode = (flow_law(scheduler, MODEL_OUTPUT, timestep, SAMPLE, level) for level in (0.7, 0.0))
    torch.testing.assert_close(
        ode.mean.float(), scheduler.step(MODEL_OUTPUT, timestep[0], SAMPLE).prev_sample.float(), rtol=1e-6, atol=1e-6
    )
    s, dt = (float(value) for value in (scheduler.sigmas[index], scheduler.sigmas[index + 1] - scheduler.sigmas[index]))
    noise = SAMPLE + (1 - s) * MODEL_OUTPUT
    g_squared = law.std[0] ** 2 / -dt
    torch.testing.assert_close(law.mean, ode.mean - g_squared / 2 * (-noise / s) * dt, rtol=1e-6, atol=1e-6)
    below_one = s if index else float(scheduler.sigmas[1])
    assert g_squared == pytest.approx(0.49 * s / (1 - below_one), rel=1e-5)


def test_the_log_prob_is_torchs_and_its_gradient_that_of_finite_differences() -> None:
    scheduler = ddim_scheduler("v_prediction")
    timestep = scheduler.timesteps[torch.tensor([0, 4, 9])]

    def law(output: torch.Tensor) -> ExactLaw:
        return ddim_law(scheduler, output, timestep, SAMPLE, 1.0)

    exact = law(MODEL_OUTPUT)
    stored = exact.at(torch.randn(SAMPLE.shape, generator=torch.Generator().manual_seed(1)))
    normal = torch.distributions.Normal(exact.mean, spread(exact.std))
    torch.testing.assert_close(log_prob(exact, stored), normal.log_prob(stored).flatten(1).mean(1))
    watched, step = MODEL_OUTPUT.clone().requires_grad_(), 1e-6 * SAMPLE
    (found,) = torch.autograd.grad(log_prob(law(watched), stored).sum(), watched)
    up, down = (log_prob(law(MODEL_OUTPUT + sign * step), stored).sum() for sign in (1, -1))
    assert float((found * step).sum()) == pytest.approx(float(up - down) / 2, rel=1e-5)
