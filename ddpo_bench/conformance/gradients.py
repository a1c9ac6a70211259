"""The gradient of the log-prob: towards the model output it is the closed form's, towards the sample there is none."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ddpo_bench.conformance.reading import read
from ddpo_bench.conformance.step import Answer, Inputs, Step
from ddpo_bench.conformance.verdict import Verdict, largest, passed_if

TOLERANCE = 1e-3  # relative to the root mean square of the gradient


def model_output(step: Step) -> Verdict:
    """d log_prob / d model_output of a stored sample."""
    inputs = step.inputs()
    stored = step.stored(inputs)
    found, right = gradient(step, inputs, stored), expected_gradient(step, inputs, stored)
    if found is None:
        return Verdict("fail", "the log-prob has no gradient towards the model output: nothing can be learned", 1.0)
    error = difference(found, right)
    said = f"differs from the closed form by up to {error:.2g} of its root mean square"
    return Verdict(passed_if(error <= TOLERANCE), said, error)


def prev_sample(step: Step) -> Verdict:
    """No gradient flows through the sample, given or drawn: REINFORCE differentiates the density at a fixed action."""
    inputs = step.inputs()
    given = step.stored(inputs).requires_grad_()
    total = step.score(followed(inputs), given).log_prob.sum()
    flows = torch.autograd.grad(total, given, allow_unused=True)[0] if total.requires_grad else None
    if flows is not None and (error := largest(flows)):
        return Verdict("fail", "the log-prob has a gradient towards the given sample: detach it", error)
    drawn = step.draw(watched := followed(inputs))
    of_drawn = towards(watched, drawn)
    of_stored = gradient(step, inputs, drawn.prev_sample.detach())
    if of_drawn is not None and of_stored is not None and (error := difference(of_drawn, of_stored)) > TOLERANCE:
        said = "a drawn sample has another gradient than the same one when it is given, through the sample: detach it"
        return Verdict("fail", said, error)
    return Verdict("pass", "no gradient flows through the sample", 0.0)


def gradient(step: Step, inputs: Inputs, stored: Tensor) -> Tensor | None:
    """Of the log-prob of a stored sample towards the model output; None where there is none."""
    watched = followed(inputs)
    return towards(watched, step.score(watched, stored))


def towards(inputs: Inputs, answer: Answer) -> Tensor | None:
    total = answer.log_prob.sum()
    return torch.autograd.grad(total, inputs.model_output, allow_unused=True)[0] if total.requires_grad else None


def expected_gradient(step: Step, inputs: Inputs, stored: Tensor) -> Tensor:
    """The closed form's, float64."""
    exact = followed(inputs.to(torch.float64))
    total = read(step).expected(step.law(exact), stored).sum()
    return torch.autograd.grad(total, exact.model_output)[0]


def difference(found: Tensor, right: Tensor) -> float:
    """The largest, relative to the root mean square of what is right."""
    return largest(found.double() - right.double()) / float(right.double().square().mean().sqrt())


def followed(inputs: Inputs) -> Inputs:
    """The inputs with a model output whose gradient is asked for."""
    return replace(inputs, model_output=inputs.model_output.detach().clone().requires_grad_())
