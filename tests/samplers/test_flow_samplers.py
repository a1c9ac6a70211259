"""Laws of flow matching against the published formulas in float64, and against diffusers' own solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from every_plugin import make
from torch import Tensor

from ddpo_bench.conformance.closed_forms import flow_law
from ddpo_bench.protocols import Sampler
from ddpo_bench.samplers.window import Window, of_epoch

CPU, STEPS = torch.device("cpu"), 7
SCHEDULE = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC = SCHEDULE | {"use_dynamic_shifting": True, "image_seq_len": 1024, "pipeline_sigmas": True}
NOISY = ("flow_sde", "dance_sde", "cps")
Law = tuple[Tensor, Tensor]


def started(name: str, config: dict[str, Any] = SCHEDULE, **options: Any) -> Any:
    sampler = make("sampler", name, **{"steps": STEPS, **options})
    sampler.start(config, CPU)
    return sampler


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    made = FlowMatchEulerDiscreteScheduler(shift=3.0)
    made.set_timesteps(STEPS)
    return made


def flow_sde(x: Tensor, v: Tensor, s: Tensor, k: int, eta: float) -> Law:
    """Flow-GRPO's step as conformance judges others by it."""
    law = flow_law(scheduler(), v[None], scheduler().timesteps[k : k + 1], x[None], eta)
    return law.mean[0], law.std[0]


def dance_sde(x: Tensor, v: Tensor, s: Tensor, k: int, eta: float) -> Law:
    """`flux_step` of DanceGRPO, by the score of the predicted x_0; its last image is that prediction."""
    sigma, dsigma = s[k], s[k + 1] - s[k]
    x_0 = x - sigma * v
    if k == len(s) - 2:
        return x_0, torch.zeros(())
    score = -(x - x_0 * (1 - sigma)) / sigma**2
    log_term = -0.5 * eta**2 * score
    return x + dsigma * v + log_term * dsigma, eta * (s[k] - s[k + 1]).sqrt()


def cps(x: Tensor, v: Tensor, s: Tensor, k: int, eta: float) -> Law:
    """Flow-CPS."""
    std = s[k + 1] * math.sin(eta * math.pi / 2)
    x_0, x_1 = x - s[k] * v, x + v * (1 - s[k])
    return x_0 * (1 - s[k + 1]) + x_1 * (s[k + 1] ** 2 - std**2).sqrt(), std


def by_score(g: Callable[[Tensor, int], Tensor]) -> Callable[..., Law]:
    """The SDE that peers write with the score: dx = [v - g^2 / 2 score] dt + g dw, score = -(x + (1 - s) v) / s."""

    def step(x: Tensor, v: Tensor, s: Tensor, k: int, eta: float) -> Law:
        score, dt, noise = -(x + (1 - s[k]) * v) / s[k], s[k + 1] - s[k], eta * g(s, k)
        return x + (v - noise**2 / 2 * score) * dt, noise * (-dt).sqrt()

    return step


def of_flow(s: Tensor, k: int) -> Tensor:
    return (s[k] / (1 - s[max(k, 1)])).sqrt()


def of_dance(s: Tensor, k: int) -> Tensor:
    return torch.tensor(float(k < len(s) - 2), dtype=torch.float64)


@pytest.mark.parametrize("eta", [0.3, 0.7, 1.0])
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("flow_sde", flow_sde),
        ("flow_sde", by_score(of_flow)),
        ("dance_sde", dance_sde),
        ("dance_sde", by_score(of_dance)),
        ("cps", cps),
    ],
)
def test_the_law_is_the_published_one_in_every_form(name: str, published: Callable[..., Law], eta: float) -> None:
    sampler, s = started(name, eta=eta), scheduler().sigmas.double()
    x, v = torch.randn(2, STEPS, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = sampler.law(v.float(), x.float(), torch.arange(STEPS), 1.0)
    mean, std = zip(*(published(x[k], v[k], s, k, eta) for k in range(STEPS)), strict=True)
    torch.testing.assert_close(law.mean.double(), torch.stack(mean), rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(law.std.double(), torch.stack(std).double(), rtol=1e-6, atol=0)
    exact = sampler.rows(s)
    torch.testing.assert_close(exact.std, torch.stack(std).double(), rtol=1e-12, atol=0)


def velocity(x: Tensor, s: float) -> Tensor:
    """Of a made-up model, which is not linear."""
    return torch.tanh(2 * x) + s * x.flip(-1) - s**2


def walked(sampler: Sampler, x: Tensor) -> Tensor:
    sampler = sampler.for_trajectories()
    for k in range(STEPS):
        s = (sampler.timesteps[k] / 1000).item()
        x = sampler.law(velocity(x, s), x, torch.full((len(x),), k), 1.0).draw(torch.randn_like(x))[0]
    return x


@pytest.mark.parametrize("config", [SCHEDULE, DYNAMIC])
@pytest.mark.parametrize(("name", "options"), [("ode", {}), *((name, {"eta": 0.0}) for name in NOISY)])
def test_without_noise_trajectories_are_those_of_diffusers(
    name: str, options: dict[str, Any], config: dict[str, Any]
) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting="image_seq_len" in config)
    mu = 0.5 + (1024 - 256) / (4096 - 256) * (1.15 - 0.5)
    given = {"mu": mu, "sigmas": [1 - k / STEPS for k in range(STEPS)]} if config is DYNAMIC else {}
    theirs.set_timesteps(STEPS, **given)
    start = expected = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    for t in theirs.timesteps:
        expected = theirs.step(velocity(expected, (t / 1000).item()), t, expected).prev_sample
    torch.testing.assert_close(walked(started(name, config, **options), start), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_dpm2_draws_the_trajectories_of_diffusers_solver(shift: float) -> None:
    settings = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    theirs = DPMSolverMultistepScheduler(**settings, solver_order=2)
    theirs.set_timesteps(STEPS)
    sampler = started("dpm2", {**theirs.config, "_class_name": "DPMSolverMultistepScheduler"})
    start = expected = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    for t in theirs.timesteps:
        expected = theirs.step(velocity(expected, (t / 1000).item()), t, expected).prev_sample
    torch.testing.assert_close(walked(sampler, start), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(walked(sampler, start), expected, rtol=1e-5, atol=1e-5)  # nothing is left of the first
    euler = walked(started("ode", {**theirs.config, "_class_name": "DPMSolverMultistepScheduler"}), start)
    assert (euler - expected).abs().max() > 1e-2


def test_dpm2_is_exact_sooner_than_euler() -> None:
    """On a model whose x_0 is a Gaussian of std 0.5, whose ODE has a closed form, from s = 1 on."""

    def error(name: str, steps: int) -> float:
        sampler = started(name, SCHEDULE | {"pipeline_sigmas": True, "shift": 1.0}, steps=steps).for_trajectories()
        x = torch.ones(1, 1, 1, 1)
        for k, s in enumerate((sampler.timesteps / 1000).tolist()):
            variance = 0.25 * (1 - s) ** 2 + s**2
            v = x * (s - 0.25 * (1 - s)) / variance
            x = sampler.law(v, x, torch.tensor([k]), 1.0).mean
        return abs(x.item() - 0.5)

    assert error("dpm2", 20) < 0.2 * error("ode", 20)


def test_the_published_density_of_cps_scores_squares_alone_and_leaves_all_else_as_it_is() -> None:
    gaussian, published = started("cps"), started("cps", density="published")
    x, v, noise, other = torch.randn(4, STEPS, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    step = torch.arange(STEPS)
    law, scored = gaussian.law(v, x, step, 1.0), published.law(v, x, step, 1.0)
    (drawn, _), (x_prev, score) = law.draw(noise), scored.draw(noise)
    assert torch.equal(x_prev, drawn)
    torch.testing.assert_close(score, -(x_prev - law.mean).square().flatten(1).mean(1), rtol=1e-5, atol=1e-6)
    assert torch.equal(scored.log_prob(x_prev), score)
    assert torch.equal(scored.kl(law.mean + other), law.kl(law.mean + other))
    assert torch.equal(scored.std, law.std)


@pytest.mark.parametrize("name", NOISY)
def test_a_window_is_noisy_among_eulers_steps(name: str) -> None:
    sampler = started(name, window=Window(2, "progressive", 1))
    windowed, part, noisy = of_epoch(sampler, 0, 3)
    assert noisy == range(2, 4)
    x, v = torch.randn(2, STEPS, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    step = torch.arange(STEPS)
    laws = [each.law(v, x, step, 1.0) for each in (windowed, sampler, started("ode"))]
    for k in range(STEPS):
        expected = laws[1 if k in noisy else 2]
        assert torch.equal(laws[0].mean[k], expected.mean[k])
        assert torch.equal(laws[0].std[k], expected.std[k])
    alone = part.law(v[2:4], x[2:4], torch.arange(2), 1.0)
    assert torch.equal(alone.mean, laws[1].mean[2:4])
    assert part.timesteps.tolist() == sampler.timesteps[2:4].tolist()
    ends = [each.noised(x[:1], v[:1], torch.tensor([k]))[0] for each, k in ((part, 2), (sampler, 4))]
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["dance_sde", "cps"])
def test_the_last_step_without_noise_is_in_no_epoch_that_is_trained_on(name: str) -> None:
    sampler = started(name)
    whole, part, noisy = of_epoch(sampler, 0, 1)
    assert whole is sampler
    assert noisy == range(STEPS - 1)
    assert len(part.timesteps) == STEPS - 1
    assert (part.law(*torch.randn(2, 1, 4, 3, 5), torch.tensor([STEPS - 2]), 1.0).std > 0).all()
    with pytest.raises(ValueError, match=r"window\.steps: must be at most 6, the steps that can be noisy, got 7"):
        started(name, window=Window(7))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_without_noise_is_that_of_diffusers(prediction: str) -> None:
    theirs = DDIMScheduler(
        set_alpha_to_one=False, steps_offset=1, clip_sample=False, prediction_type=prediction
    )  # as the sampler, it ends at timestep 0
    theirs.set_timesteps(STEPS)
    sampler = started("ddim", dict(theirs.config), eta=0.0)
    output, x = torch.randn(2, STEPS, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    law = sampler.law(output, x, torch.arange(STEPS), 1.0)
    assert not law.std.any()
    for k, t in enumerate(theirs.timesteps):
        expected = theirs.step(output[k], t, x[k], eta=0.0).prev_sample
        torch.testing.assert_close(law.draw(x)[0][k], expected, rtol=1e-4, atol=1e-4)
