"""What a sample's log-prob may not depend on: the others of its batch, and how their timesteps are given."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ddpo_bench.conformance.density import LOG_PROB
from ddpo_bench.conformance.reading import read
from ddpo_bench.conformance.step import PLACES, Inputs, Step
from ddpo_bench.conformance.verdict import Verdict, largest, outside_clip, passed_if

MIDDLE = PLACES["middle step"]


def invariance(step: Step) -> Verdict:
    """A batch at one step gives what each sample gives alone."""
    return against_single(step, step.inputs(steps=[MIDDLE] * 4), "the other samples of the batch change a log-prob")


def mixed_timesteps(step: Step) -> Verdict:
    """A batch of samples at different steps, as shuffled minibatches are, gives what each gives alone."""
    mixed = step.inputs(steps=[MIDDLE + k for k in (-2, 1, 0, -1)])
    return against_single(step, mixed, "a tensor of different timesteps changes a log-prob")


def against_single(step: Step, inputs: Inputs, wrong: str) -> Verdict:
    """Samples differ in size, so that statistics of the batch are not those of a sample."""
    sizes = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(-1, 1, 1, 1)
    inputs = replace(inputs, model_output=inputs.model_output * sizes, sample=inputs.sample * sizes)
    stored = step.stored(inputs) + 0.1 * sizes
    together = step.score(inputs, stored).log_prob
    alone = torch.cat([answer.log_prob for answer in step.score_one_by_one(inputs, stored)])
    changes = (together.double() - alone.double()).detach()
    return judged(step, inputs, changes, wrong, "the same as one by one")


def judged(step: Step, inputs: Inputs, changes: Tensor, wrong: str, right: str) -> Verdict:
    error = largest(changes / read(step).scale(step.law(inputs).std))
    said = right if error <= LOG_PROB else f"{wrong}, by up to {error:.2g} in mean units"
    return Verdict(passed_if(error <= LOG_PROB), said, error, outside_clip(changes))


def shared_timestep(step: Step) -> Verdict:
    """One timestep for a whole batch, as pipelines pass it: a number for DDIM, a single entry for flow."""
    inputs = step.inputs(steps=[MIDDLE] * 4)
    stored = step.stored(inputs)
    one = inputs.timestep[0] if step.convention.scalar_timestep else inputs.timestep[:1]
    shared = step.score(replace(inputs, timestep=one), stored).log_prob
    changes = (shared.double() - step.score(inputs, stored).log_prob.double()).detach()
    return judged(step, inputs, changes, "one timestep for all differs from a tensor of them", "as a tensor of them")
