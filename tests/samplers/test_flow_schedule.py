"""A flow-matching scheduler's configuration read as its own class reads it, against the classes of diffusers."""

from __future__ import annotations

import itertools
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from ddpo_bench.samplers.flow_schedule import flow_schedule
from ddpo_bench.samplers.ode import ODE
from ddpo_bench.samplers.scheduler_classes import FLOW_CLASSES, FLOW_SOLVERS, OTHERS, SOLVERS, UnusableSchedule

EULER = "FlowMatchEulerDiscreteScheduler"
FEW = {"num_train_timesteps": 200}


@pytest.mark.parametrize("by_pipeline", [False, True])
@pytest.mark.parametrize("kind", ["static", "exponential", "linear"])
def test_sigmas_and_timesteps_are_those_of_the_scheduler_and_its_pipeline(by_pipeline: bool, kind: str) -> None:
    """As SD3's pipeline calls it, and, with sigmas of its own, as FLUX's, Qwen-Image's and Z-Image's do."""
    for shift, terminal, steps in itertools.product((1.0, 3.0, 1.73, 0.6), (None, 0.02), (2, 7, 10, 28)):
        settings: dict[str, Any] = {"shift": shift, "shift_terminal": terminal}
        given: dict[str, Any] = {}
        if kind != "static":
            settings |= {"use_dynamic_shifting": True, "time_shift_type": kind, "base_shift": 0.4, "max_shift": 1.1}
            given["mu"] = 0.4 + (1024 - 256) / (4096 - 256) * (1.1 - 0.4)
        if by_pipeline:
            given["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        theirs = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
        theirs.set_timesteps(steps, **given)
        more = {"image_seq_len": 1024, "pipeline_sigmas": by_pipeline}
        mine = flow_schedule({**theirs.config, "_class_name": EULER, **more}, steps)
        assert torch.equal(mine.sigmas, theirs.sigmas), (settings, steps)
        assert torch.equal(mine.timesteps, theirs.timesteps), (settings, steps)
        assert mine.timesteps.dtype == torch.float32


@pytest.mark.parametrize("name", [*FLOW_CLASSES[1:], *FLOW_SOLVERS])
def test_other_solvers_of_flow_matching_are_sampled_at_their_own_noise_levels(name: str) -> None:
    for shift, steps in itertools.product((1.0, 3.0), (1, 4, 11)):
        settings = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
        settings |= {"final_sigmas_type": "zero", "lower_order_final": True}
        theirs = getattr(diffusers, name)(**FEW, **({"shift": shift} if name in FLOW_CLASSES else settings))
        theirs.set_timesteps(steps)
        mine = flow_schedule({**theirs.config, "_class_name": name}, steps)
        assert torch.equal(mine.sigmas, theirs.sigmas.unique().flip(0))
        assert torch.equal(mine.timesteps, theirs.timesteps.float().unique().flip(0))


@pytest.mark.parametrize("name", sorted({*SOLVERS, *OTHERS} - {*FLOW_CLASSES}))
def test_a_scheduler_of_another_process_is_refused_as_what_it_is(name: str) -> None:
    with pytest.raises(UnusableSchedule) as raised:
        ODE().fits({"_class_name": name, "num_train_timesteps": 1000})
    said = OTHERS.get(name, "of a diffusion process with betas, not of flow matching. Set sampler.name to ddim.")
    if OTHERS.get(name) == "of flow matching":
        said = "the noise levels that it samples at are its own. Choose a model with FlowMatchEulerDiscreteScheduler"
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"use_karras_sigmas": True}, "use_karras_sigmas: True is not supported. Set it to False."),
        ({"invert_sigmas": True}, "invert_sigmas: True is not supported"),
        ({"stochastic_sampling": True}, "stochastic_sampling: True is not supported"),
        ({"shift": "3"}, "shift: expected a number, got '3'."),
        ({"shift": 0}, "shift: must be above 0, got 0."),
        ({"shift_terminal": 1.0}, "shift_terminal: must be at least 0 and below 1, got 1."),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting needs image_seq_len"),
        (
            {"use_dynamic_shifting": True, "image_seq_len": 64, "time_shift_type": "exponent"},
            "unknown time_shift_type 'exponent'. Did you mean 'exponential'?",
        ),
        (
            {"use_dynamic_shifting": True, "image_seq_len": 64, "max_image_seq_len": 256},
            "max_image_seq_len: must be above base_image_seq_len (256), got 256.",
        ),
        ({"num_train_timesteps": 5}, "sampler.steps: must lie in 1..5, the model's num_train_timesteps, got 10"),
        ({"_class_name": "FlowMatchEuler"}, "unknown scheduler class 'FlowMatchEuler'. Did you mean 'FlowMatchEulerD"),
        (
            {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "epsilon"},
            "prediction_type: 'epsilon' is not supported. Set it to 'flow_prediction'.",
        ),
    ],
)
def test_settings_that_mean_something_else_are_refused_in_one_line(change: dict[str, Any], mistake: str) -> None:
    with pytest.raises(UnusableSchedule) as raised:
        ODE(steps=10).fits({"_class_name": EULER, **change})
    assert mistake in str(raised.value)
    assert "\n" not in str(raised.value)
