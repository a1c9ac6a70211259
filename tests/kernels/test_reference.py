"""The torch reference of the kernels, against diffusers, torch.distributions and plain formulas, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from ddpo_kernels import (
    AffineStep,
    NoDensity,
    coefficient_table,
    form_mean,
    gaussian_kl,
    gaussian_log_prob,
    ppo_loss,
    sample,
    score,
)
from ddpo_kernels.table import COLUMNS
from diffusers import DDIMScheduler
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ddpo_bench.samplers.ddim import ddim_coefficients

STEPS = 7
PREDICTIONS = ("epsilon", "v_prediction", "sample")
ETA = 0.8


def make_scheduler(prediction: str, clip: float | None) -> DDIMScheduler:
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        set_alpha_to_one=False,
        steps_offset=1,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    scheduler.set_timesteps(STEPS)
    return scheduler


def make_table(scheduler: DDIMScheduler) -> Tensor:
    k = ddim_coefficients(scheduler, scheduler.timesteps, ETA)
    if scheduler.config.clip_sample:
        return coefficient_table(k.direction * k.eps_x, k.direction * k.eps_m, k.std, k.x0_x, k.x0_m, k.signal)
    on_x, on_m = k.signal * k.x0_x + k.direction * k.eps_x, k.signal * k.x0_m + k.direction * k.eps_m
    return coefficient_table(on_x, on_m, k.std)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_step(prediction: str = "epsilon", clip: float | None = None, guided: bool = True) -> AffineStep:
    """Every step of a schedule, as one batch."""
    output = normal(STEPS * (2 if guided else 1), 3, 4, 5, seed=0).requires_grad_()
    table = make_table(make_scheduler(prediction, clip))
    return AffineStep(output, normal(STEPS, 3, 4, 5, seed=1), table, torch.arange(STEPS), 5.0 if guided else 1.0, clip)


def law(step: AffineStep) -> Normal:
    return Normal(form_mean(step).detach(), step.table[step.index, COLUMNS.index("std")].view(-1, 1, 1, 1))


@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_step_is_that_of_diffusers(prediction: str, clip: float | None) -> None:
    scheduler, step = make_scheduler(prediction, clip), make_step(prediction, clip)
    noise = normal(STEPS, 3, 4, 5, seed=2)
    found = sample(step, noise, backend="torch").x_prev
    uncond, cond = step.model_output.chunk(2)
    output = uncond + 5.0 * (cond - uncond)
    for k, t in enumerate(scheduler.timesteps.tolist()):
        one = slice(k, k + 1)
        expected = scheduler.step(output[one], t, step.x_t[one], eta=ETA, variance_noise=noise[one]).prev_sample
        torch.testing.assert_close(found[one], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize("guided", [False, True])
def test_log_prob_is_that_of_the_normal_distribution(guided: bool, clip: float | None) -> None:
    step = make_step(clip=clip, guided=guided)
    drawn = sample(step, normal(STEPS, 3, 4, 5, seed=2), with_mean=True, backend="torch")
    expected = law(step).log_prob(drawn.x_prev.detach()).flatten(1).mean(1)
    torch.testing.assert_close(drawn.log_prob, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(score(step, drawn.x_prev, backend="torch").log_prob, expected, rtol=1e-12, atol=0)
    std = step.table[step.index, COLUMNS.index("std")]
    torch.testing.assert_close(gaussian_log_prob(drawn.x_prev, drawn.mean, std), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["mean", "output"])
@pytest.mark.parametrize("clip", [None, 0.4])
def test_kl_is_that_of_the_normal_distributions(kind: str, clip: float | None) -> None:
    step = make_step(clip=clip)
    other = AffineStep(normal(2 * STEPS, 3, 4, 5, seed=3), step.x_t, step.table, step.index, 5.0, clip)
    reference = other.model_output if kind == "output" else form_mean(other)
    expected = kl_divergence(law(step), law(other)).flatten(1).mean(1)
    found = score(step, None, reference, "output" if kind == "output" else "mean", backend="torch").kl
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    std = step.table[step.index, COLUMNS.index("std")]
    torch.testing.assert_close(gaussian_kl(form_mean(step), form_mean(other), std), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_drawn_sample_is_scored_as_it_is_stored(dtype: torch.dtype) -> None:
    """With a rounding of 2^-8 of x_prev the log-prob of the unrounded one would differ."""
    exact = make_step()
    step = AffineStep(exact.model_output.to(dtype), exact.x_t.to(dtype), exact.table.float(), exact.index, 5.0)
    drawn = sample(step, normal(STEPS, 3, 4, 5, seed=2).to(dtype), backend="torch")
    assert drawn.x_prev.dtype == dtype
    assert torch.equal(score(step, drawn.x_prev, backend="torch").log_prob, drawn.log_prob)


def test_ppos_loss_is_the_plain_formula() -> None:
    log_prob, old, advantages = (normal(64, seed=seed) for seed in (0, 1, 2))
    log_prob.requires_grad_()
    loss, statistics = ppo_loss(log_prob, old, advantages, 0.2, backend="torch")
    ratio = torch.exp(log_prob - old)
    expected = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(value, log_prob, retain_graph=True)[0] for value in (loss, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    d = (log_prob - old).detach()
    outside = ((d.exp() < 0.8) | (d.exp() > 1.2)).double().mean()
    wanted = (outside, -d.mean(), (torch.expm1(d) - d).mean())
    torch.testing.assert_close(tuple(statistics), wanted, rtol=1e-6, atol=1e-12)


def test_the_gradients_of_log_prob_and_kl_meet_in_one_mean() -> None:
    """Asked one after the other or at once: the same bits, so that a loss may ask for each where it reads best."""
    x_prev, reference = normal(STEPS, 3, 4, 5, seed=4), normal(STEPS, 3, 4, 5, seed=5)
    found = []
    for at_once in (True, False):
        step = make_step()
        if at_once:
            log_prob, kl = score(step, x_prev, reference, backend="torch")[2:]
        else:
            log_prob = score(step, x_prev, backend="torch").log_prob
            kl = score(step, None, reference, backend="torch").kl
        found.append(torch.autograd.grad((log_prob + 3 * kl).sum(), step.model_output)[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [0.2, 0.1, 0.099, 0.05, *(10.0**-power for power in range(2, 9))])
def test_k3_keeps_its_digits_in_fp32(size: float, sign: int) -> None:
    """Where fp32 computes exp(d) - 1 - d plainly, rounding of exp(d) near 1 is larger than d^2 / 2."""
    d = torch.tensor([sign * size])
    wide = d.double()
    exact = sum(wide**n / math.factorial(n) for n in range(2, 14))
    zero = torch.zeros(1)
    found = ppo_loss(d, zero, zero, 0.2, backend="torch")[1].kl_k3
    assert abs(found.double() / exact - 1).item() < 1e-5


def test_the_plain_formula_of_k3_is_wrong_by_more_than_itself_in_fp32() -> None:
    worst = 0.0
    for d in torch.linspace(5e-5, 2e-4, 50):
        exact = torch.expm1(d.double()) - d.double()
        worst = max(worst, abs((d.exp() - 1 - d).double() / exact - 1).item())
    assert worst > 1.0


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("ratio", [0.75, 0.5, 1.25, 1.5, 1.0])
def test_the_clip_decides_on_both_sides_and_at_its_ends(ratio: float, advantage: float) -> None:
    """Range [0.75, 1.25]; the ends are exact in binary, and belong to the range: not clipped, not counted."""
    log_ratio = torch.tensor([ratio], dtype=torch.float64).log()
    assert log_ratio.exp().item() == ratio
    log_ratio.requires_grad_()
    zero = torch.zeros(1, dtype=torch.float64)
    loss, statistics = ppo_loss(log_ratio, zero, zero + advantage, 0.25, backend="torch")
    profits = (ratio > 1.25 and advantage > 0) or (ratio < 0.75 and advantage < 0)
    bounded = min(max(ratio, 0.75), 1.25)
    assert loss.item() == -advantage * (bounded if profits else ratio)
    assert statistics.clip_fraction.item() == float(abs(ratio - 1) > 0.25)
    by_log_ratio = torch.autograd.grad(loss, log_ratio)[0].item()
    assert by_log_ratio == (0.0 if profits else -advantage * ratio)


@pytest.mark.parametrize("where", ["log_prob", "log_prob_old", "advantages"])
def test_nan_is_never_swallowed(where: str) -> None:
    given = {name: torch.ones(5) for name in ("log_prob", "log_prob_old", "advantages")}
    given[where][3] = float("nan")
    given["log_prob"].requires_grad_()
    loss, statistics = ppo_loss(**given, clip_range=0.1, backend="torch")
    assert loss.isnan()
    assert torch.autograd.grad(loss, given["log_prob"])[0].isnan().nonzero().flatten().tolist() == [3]
    seen = {name for name, value in statistics._asdict().items() if value.isnan()}
    assert seen == (set() if where == "advantages" else {"kl_k1", "kl_k3"})


@pytest.mark.parametrize("where", ["model_output", "x_t", "x_prev"])
@pytest.mark.parametrize("clip", [None, 0.4])
def test_nan_in_a_step_stays_in_its_sample(where: str, clip: float | None) -> None:
    given = make_step(clip=clip, guided=False)
    output, x_t, x_prev = given.model_output.detach().clone(), given.x_t.clone(), normal(STEPS, 3, 4, 5, seed=4)
    {"model_output": output, "x_t": x_t, "x_prev": x_prev}[where][2, 0, 0, 0] = float("nan")
    step = AffineStep(output.requires_grad_(), x_t, given.table, given.index, 1.0, clip)
    log_prob = score(step, x_prev, backend="torch").log_prob
    assert log_prob.isnan().nonzero().flatten().tolist() == [2]
    sick = torch.autograd.grad(log_prob.sum(), output)[0].isnan().nonzero().tolist()
    assert sick == [[2, 0, 0, 0]]


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_step_without_a_density_is_refused(std: float) -> None:
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(NoDensity, match="standard deviation above 0"):
        coefficient_table(ones, ones, torch.tensor([1.0, std, 1.0], dtype=torch.float64))
