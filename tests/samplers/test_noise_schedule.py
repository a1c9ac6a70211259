"""A scheduler's configuration read as its own class reads it, against every scheduler class of diffusers."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from ddpo_kernels import NoDensity

from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.samplers.ddim_schedule import ddim_coefficients
from ddpo_bench.samplers.noise_schedule import NoiseSchedule, noise_schedule
from ddpo_bench.samplers.scheduler_classes import OTHERS, SOLVERS, UnusableSchedule

CPU = torch.device("cpu")
HALF_STEPS = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
FEW = {"num_train_timesteps": 100}  # some classes are slow to make
SETTINGS: list[dict[str, Any]] = [
    {},
    {"beta_start": 0.0005, "beta_end": 0.01, "beta_schedule": "scaled_linear", "timestep_spacing": "leading"},
    {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "linspace", "steps_offset": 1},
    {"beta_schedule": "sigmoid"},
    {"beta_schedule": "laplace"},
    {"beta_schedule": "exp"},
]


def all_schedulers() -> list[str]:
    """Names of diffusers' classes, those that another package must be installed for among them."""
    import diffusers.schedulers as module

    return [name for name in dir(module) if name.endswith("Scheduler")]


def make(name: str, settings: Mapping[str, Any]) -> Any:
    """The class made with those of the settings that it has; None where it has no such beta schedule."""
    kind = getattr(diffusers.schedulers, name)
    if kind.__module__.startswith("diffusers.utils.dummy"):
        pytest.skip(f"{name} needs another package")
    try:
        return kind(**{key: value for key, value in settings.items() if key in inspect.signature(kind).parameters})
    except NotImplementedError:
        return None


def test_every_scheduler_class_is_either_used_or_named() -> None:
    assert not set(all_schedulers()) - SOLVERS.keys() - OTHERS.keys()
    assert not SOLVERS.keys() & OTHERS.keys()


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_scheduler_of_another_process_is_refused_as_what_it_is(name: str) -> None:
    with pytest.raises(UnusableSchedule, match=f"{name}: is {OTHERS[name]}, not of a diffusion process") as raised:
        DDIM().fits({"_class_name": name, "num_train_timesteps": 1000, "shift": 3.0, "steps_offset": 1})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True},
        {"prediction_type": "flow_prediction"},
    ],
)
def test_a_solver_that_is_set_to_flow_matching_is_refused_as_that(config: dict[str, Any]) -> None:
    """And not for the setting, which would not make a diffusion model of it where it is taken away."""
    with pytest.raises(UnusableSchedule, match=r"is of flow matching, .* Set sampler.name to flow_sde, "):
        DDIM().fits({"steps_offset": 1, **config})


def test_a_scheduler_class_that_is_not_known_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UnusableSchedule, match=r"unknown scheduler class 'EulerScheduler'\. Did you mean 'EulerDiscrete"
    ):
        noise_schedule({"_class_name": "EulerScheduler"}, 10)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_alphas_are_those_that_the_class_itself_computes(name: str) -> None:
    for settings in SETTINGS:
        theirs = make(name, FEW | settings)
        config = {"_class_name": name, **FEW, **settings}
        if theirs is None:
            with pytest.raises(UnusableSchedule, match="unknown beta_schedule"):
                noise_schedule(config, 10)
        else:
            expected = theirs.alphas_cumprod.clone()
            if theirs.config.get("rescale_betas_zero_snr"):
                expected[-1] = 0  # some write 2^-24, because they divide by it
            assert torch.equal(noise_schedule(config, 10).alphas_cumprod, expected), settings


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_timesteps_are_those_that_the_class_itself_computes(name: str) -> None:
    for settings, steps in itertools.product(SETTINGS[:4], (1, 7, 10, 30)):
        theirs = make(name, {**FEW, "skip_prk_steps": True, **settings})
        with warnings.catch_warnings(action="ignore"):
            theirs.set_timesteps(steps)
        expected = theirs.timesteps.double().round().long().unique().flip(0)
        found = noise_schedule({"_class_name": name, **FEW, **settings}, steps).timesteps
        if name in HALF_STEPS:  # between which they evaluate the model again
            assert set(found.tolist()) <= set(expected.tolist())
        else:
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_x0_is_limited_as_the_class_itself_limits_it(name: str) -> None:
    """Keys that a class lacks mean nothing to it, and its own defaults are filled in, not those of DDIM."""
    kind = make(name, FEW)
    asked = {"clip_sample": True, "clip_sample_range": 2.0, "thresholding": True, "sample_max_value": 3.0}
    plain, limited = (noise_schedule({"_class_name": name, **more}, 10) for more in ({}, asked))
    assert plain.clip == (kind.config.clip_sample_range if kind.config.get("clip_sample") else None)
    assert plain.thresholding is None
    assert limited.clip == (2.0 if "clip_sample" in kind.config else None)
    assert limited.thresholding == ((0.995, 3.0) if "thresholding" in kind.config else None)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_the_law_of_an_ancestral_euler_model_is_its_own_step(prediction: str, spacing: str) -> None:
    """Its step in x / sqrt(a) is DDIM's with eta = 1 (Karras et al. 2022, appendix B)."""
    theirs = diffusers.EulerAncestralDiscreteScheduler(
        prediction_type=prediction, timestep_spacing=spacing, steps_offset=1
    )
    theirs.set_timesteps(10)
    mine = DDIM(steps=10)
    mine.start({**theirs.config, "_class_name": "EulerAncestralDiscreteScheduler", "clip_sample": True}, CPU)
    assert mine.timesteps.tolist() == theirs.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    output, x_t = 3 * torch.randn(2, 9, 4, 3, 5, generator=generator)
    law = mine.law(output, x_t, torch.arange(9), 1.0)
    seen = x_t * (theirs.sigmas[:9].view(9, 1, 1, 1) ** 2 + 1).sqrt()
    for k, t in enumerate(theirs.timesteps[:9]):
        step = theirs.step(output[k : k + 1], t, seen[k : k + 1], generator=torch.Generator().manual_seed(k))
        drawn = torch.randn(output[k : k + 1].shape, generator=torch.Generator().manual_seed(k))
        found = law.mean[k : k + 1] + law.std[k] * drawn
        expected = step.prev_sample / (theirs.sigmas[k + 1] ** 2 + 1).sqrt()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_coefficients_are_finite_and_exact_at_every_setting(name: str, spacing: str) -> None:
    """Or the schedule is refused, for what it is."""
    settings = itertools.product(
        ("linear", "scaled_linear", "squaredcos_cap_v2"),
        (False, True),
        ("epsilon", "v_prediction", "sample"),
        (0.3, 1.0),
        (1, 2, 3, 5, 10, 49, 50, 333, 999, 1000),
    )
    used, refusals = 0, []
    for schedule, rescaled, prediction, eta, steps in settings:
        config = {
            "_class_name": name,
            "beta_schedule": schedule,
            "rescale_betas_zero_snr": rescaled,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "steps_offset": 1,
        }
        try:
            mine = noise_schedule(config, steps)
            found = ddim_coefficients(mine, mine.timesteps, eta)
        except (UnusableSchedule, NoDensity) as error:
            refusals.append((str(error), config, steps))
            continue
        used += 1
        assert len(mine.timesteps) == steps
        assert_exact(mine, found, eta)
        for clips in (False, True):
            assert torch.isfinite(found.table(clips, use_clipped_model_output=clips).float()).all()
    assert all(is_right(*refusal) for refusal in refusals)
    assert used >= (0 if spacing == "linspace" and name != "DPMSolverMultistepScheduler" else 200)


def is_right(error: str, config: dict[str, Any], steps: int) -> bool:
    """Whether a schedule is really what it was refused for."""
    if "is 0 (zero terminal SNR)" in error:
        return config["prediction_type"] == "epsilon" and config["rescale_betas_zero_snr"]
    if "has no noise" in error:
        return "timestep 0 " in error and (config["timestep_spacing"] == "linspace" or steps >= 999)
    if "would begin at timestep 1000" in error:
        return steps >= 999
    return "1000 different timesteps cannot be spaced" in error


def assert_exact(schedule: NoiseSchedule, found: Any, eta: float) -> None:
    """Against the formulas as they stand in the paper, in extended precision."""
    alphas = schedule.alphas_cumprod.double().numpy().astype(np.longdouble)
    a, a_prev = alphas[schedule.timesteps], alphas[schedule.previous(schedule.timesteps)]
    variance = np.longdouble(eta) ** 2 * (1 - a_prev) / (1 - a) * (1 - a / a_prev)
    np.testing.assert_allclose(found.std.numpy(), np.sqrt(variance).astype(float), rtol=1e-12)
    rest = np.sqrt(np.maximum(1 - a_prev - variance, 0)).astype(float)
    np.testing.assert_allclose(found.direction.numpy(), rest, rtol=1e-9, atol=1e-9)


def test_steps_lead_to_where_the_next_one_begins_or_where_the_class_says() -> None:
    euler = noise_schedule({"_class_name": "DPMSolverMultistepScheduler"}, 7)
    assert euler.previous(euler.timesteps).tolist() == [*euler.timesteps[1:].tolist(), 0]
    ddim = noise_schedule({"timestep_spacing": "trailing"}, 7)
    assert ddim.previous(ddim.timesteps).tolist() == (ddim.timesteps - 142).clamp_min(0).tolist()


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"use_karras_sigmas": True}, "use_karras_sigmas: True is not supported. Set it to False."),
        (
            {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
            "timestep_type: 'continuous' is not",
        ),
        ({"variance_type": "learned_range"}, "models that predict variances are not supported"),
        ({"prediction_type": "noise"}, "'noise' is not one of epsilon, v_prediction, sample"),
        ({"beta_schedule": "cosine"}, "unknown beta_schedule 'cosine'. Did you mean 'linear'?"),
        ({"timestep_spacing": "even"}, "unknown timestep_spacing 'even'"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas: must hold 1000 betas, one a timestep"),
        ({"trained_betas": [0.1] * 1000, "steps_offset": 0}, "the step at timestep 0 has no noise"),
        ({"trained_betas": [float("nan")] * 1000}, "Its betas must lie above 0 and below 1"),
        ({"trained_betas": "x"}, "trained_betas: must hold 1000 betas"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps: expected a whole number, got '1000'."),
        ({"steps_offset": 1.5}, "steps_offset: expected a whole number, got 1.5."),
        ({"beta_start": None}, "beta_start: expected a number, got None."),
        ({"beta_end": 2.0}, "beta_end: must be above 0 and below 1, got 2."),
        ({"dynamic_thresholding_ratio": 7}, "dynamic_thresholding_ratio: must be above 0 and at most 1, got 7."),
        ({"num_train_timesteps": 5}, "sampler.steps: must lie in 1..5, the model's num_train_timesteps, got 10"),
    ],
)
def test_settings_that_mean_something_else_are_refused_in_one_line(change: dict[str, Any], mistake: str) -> None:
    with pytest.raises((UnusableSchedule, NoDensity)) as raised:
        DDIM(steps=10).fits({"steps_offset": 1, **change})
    assert mistake in str(raised.value)
    assert "\n" not in str(raised.value)


def test_eta_above_one_is_refused_as_what_it_is() -> None:
    with pytest.raises(UnusableSchedule, match=r"sampler\.eta: must be at most 1, got 1\.5: .* < 0"):
        DDIM(eta=1.5).fits({"steps_offset": 1})
