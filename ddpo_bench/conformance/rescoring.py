"""A stored sample that is scored again: the importance ratio before the first update, and the sample itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ddpo_bench.conformance.step import BATCH, PLACES, Step
from ddpo_bench.conformance.verdict import Verdict, largest, outside_clip, passed_if


def ratio(step: Step, dtype: torch.dtype) -> Verdict:
    """The ratio of a sample as it is returned, and so stored, when it is scored again with the same inputs."""
    changes: list[Tensor] = []
    for index in PLACES.values():
        inputs = step.inputs(steps=[index] * BATCH).to(dtype)
        drawn = step.draw(inputs)
        again = step.score(inputs, drawn.prev_sample.detach().clone()).log_prob
        changes.append((again.double() - drawn.log_prob.double()).detach())
    log_ratios = torch.cat(changes)
    error = largest(log_ratios.expm1())
    said = "exactly 1 before the first update"
    if error:
        said = (
            f"up to {error:.2g} from 1 before any update: the log-prob of sampling is not that of the sample as "
            "returned; round the sample first, then score it"
        )
    elif (kept := drawn.prev_sample.dtype) != dtype:
        said += f"; samples are returned in {name(kept)}, and must be stored so"
    return Verdict(passed_if(error == 0), said, error, outside_clip(log_ratios))


def untouched(step: Step) -> Verdict:
    """prev_sample comes back as it was given."""
    inputs = step.inputs()
    given = step.stored(inputs)
    kept = given.clone()
    returned = step.call(inputs, prev_sample=given).prev_sample
    error = max(largest(given - kept), largest(returned.to(kept) - kept))
    said = "is returned as it was given"
    if not torch.equal(given, kept):
        said = f"is changed in place, by up to {error:.2g}"
    elif error:
        said = f"is returned changed, by up to {error:.2g}"
    return Verdict(passed_if(error == 0), said, error)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
