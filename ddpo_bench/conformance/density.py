"""Log-prob, mean, standard deviation and samples, against the closed forms."""

from __future__ import annotations

import torch

from ddpo_bench.conformance.closed_forms import spread
from ddpo_bench.conformance.reading import read
from ddpo_bench.conformance.step import BATCH, PLACES, Step
from ddpo_bench.conformance.verdict import Verdict, largest, outside_clip, passed_if

LOG_PROB = 1e-5  # nats a dimension; a tenth of the clip range
MEAN = 1e-3  # standard deviations: float32 rounds latents near 1 to 3e-6 of the smallest
STD = 1e-4  # relative
SPREAD = 6  # standard errors


def log_prob(step: Step, prediction: str, place: str) -> Verdict:
    """The log-prob of a stored sample."""
    inputs = step.inputs(prediction, [PLACES[place]] * BATCH)
    law, reading, stored = step.law(inputs), read(step), step.stored(inputs)
    found = torch.cat([answer.log_prob for answer in step.score_one_by_one(inputs, stored)])
    errors = found.double() - reading.expected(law, stored)
    error = largest(errors / reading.scale(law.std))
    said = f"differs from the float64 closed form by up to {error:.2g} in mean units"
    return Verdict(passed_if(error <= LOG_PROB), said, error, outside_clip(errors))


def mean(step: Step, place: str) -> Verdict:
    """The mean that is returned."""
    inputs = step.inputs(steps=[PLACES[place]])
    law = step.law(inputs)
    found = step.score(inputs, step.stored(inputs)).mean
    assert found is not None
    error = largest((found.double() - law.mean) / spread(law.std))
    return Verdict(passed_if(error <= MEAN), f"differs from the closed form by up to {error:.2g} std", error)


def std(step: Step) -> Verdict:
    """The standard deviation that is returned, at each step."""
    steps = list(range(step.convention.scheduler(step.convention.predictions[0]).num_inference_steps))
    inputs = step.inputs(steps=steps)
    law = step.law(inputs)
    answers = step.score_one_by_one(inputs, step.stored(inputs))
    found = torch.stack([answer.std.flatten()[0] for answer in answers if answer.std is not None]).double()
    error = largest(found / law.std - 1)
    said = f"differs from the closed form by up to {error:.2g} of it"
    sigmas = inputs.scheduler.sigmas.double()
    if error > STD and largest(found * (sigmas[:-1] - sigmas[1:]).sqrt() / law.std - 1) <= STD:
        said = "is g, without sqrt(-dt): a KL that divides by its square is -dt times the true one"
    return Verdict(passed_if(error <= STD), said, error)


def reduction(step: Step) -> Verdict:
    """Mean or sum over latent dimensions; the rounding of a large sum alone leaves the clip range."""
    found = read(step).reduction
    if found is None:
        return Verdict("not applicable", "cannot be told, because the log-prob is no closed form: see log-prob")
    wrong = {
        "sum": "the log-prob is the sum over latent dimensions, not their mean: ratios are the power C H W of those "
        "that published clip ranges are meant for",
        "unweighted": "the log-prob is the mean of -(x - mean)^2, without 1 / (2 std^2): ratios are at another scale "
        "than those of a density, and clip ranges do not transfer",
    }
    rounding = log_prob(step, step.convention.predictions[0], "middle step").outside_clip
    said = wrong.get(found, "the log-prob is the mean over latent dimensions")
    return Verdict(passed_if(found == "mean"), said, None, rounding)


def constants(step: Step) -> Verdict:
    """-log std - 1/2 log 2 pi.  What depends on the step alone cancels in a ratio, so that no ratio leaves a clip."""
    found = read(step).constants
    if found is None:
        return Verdict("not applicable", "cannot be told, because the log-prob is no closed form: see log-prob")
    missing = {"no 2 pi": "-1/2 log 2 pi", "no std": "-log std", "none": "-log std - 1/2 log 2 pi"}
    if found in missing:
        return Verdict("fail", f"{missing[found]} is left out; it cancels in ratios, but not in log-probs", None, 0.0)
    return Verdict("pass", "-log std and -1/2 log 2 pi are there", None, 0.0)


def samples(step: Step) -> Verdict:
    """What is sampled lies as far from the mean as the law says."""
    errors = {}
    for place, index in PLACES.items():
        inputs = step.inputs(steps=[index])
        law = step.law(inputs)
        z = (step.draw(inputs).prev_sample.detach().double() - law.mean) / spread(law.std)
        mean, variance = z.mean() * z.numel() ** 0.5, (z.var() - 1) * (z.numel() / 2) ** 0.5
        errors[place] = largest(torch.stack([mean, variance]))
    worst = max(errors, key=errors.__getitem__)
    said = (
        f"mean and variance of the noise are {errors[worst]:.2g} standard errors from 0 and 1, at worst at the {worst}"
    )
    return Verdict(passed_if(errors[worst] <= SPREAD), said, errors[worst])
