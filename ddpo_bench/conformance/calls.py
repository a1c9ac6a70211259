"""What a call does besides its answer: no noise, seeds, and waiting for the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddpo_bench.conformance.step import PLACES, Step, WrongAnswer
from ddpo_bench.conformance.verdict import Verdict, largest, passed_if
from ddpo_bench.reward_bases.user_code import told


def no_noise(step: Step) -> Verdict:
    """Without noise there is no density: an error is right, and a log-prob, NaN or not, is wrong."""
    inputs = step.inputs()
    stored = step.stored(inputs)
    where = f"{step.convention.noise} = 0"
    try:
        answer = step.score(replace(inputs, noise=0.0), stored)
    except WrongAnswer:
        raise
    except Exception as error:  # any will do
        return Verdict("pass", f"{where} is refused: {told(error)}")
    found = float(answer.log_prob.detach().double().mean())
    return Verdict("fail", f"{where} has no density, but gives the log-prob {found:.4g} without an error")


def determinism(step: Step) -> Verdict:
    """The same seed draws the same sample, another seed another; scoring gives the same bits."""
    inputs = step.inputs()
    first, again, other = (step.draw(inputs, seed) for seed in (5, 5, 6))
    stored = first.prev_sample.detach()
    scores = [step.score(inputs, stored).log_prob for _ in range(2)]
    error = max(largest(first.prev_sample - again.prev_sample), largest(scores[0] - scores[1]))
    by = "a generator" if step.takes_generator else "torch's global seed, since it takes no generator"
    if error:
        return Verdict("fail", f"the same seed and inputs give different results; seeded by {by}", error)
    if torch.equal(first.prev_sample, other.prev_sample):
        return Verdict("fail", f"different seeds draw the same sample; seeded by {by}", error)
    return Verdict("pass", f"reproducible by {by}", error)


def synchronisations(step: Step) -> Verdict:
    """Conversions of a tensor to a number, each of which waits for a GPU: they may not grow with the batch.

    That the tensor lies on the device cannot be seen on a CPU, so a few a call are told but not held against it.
    """
    few, many = (count_synchronisations(step, size) for size in (2, 6))
    if many > few:
        each = (many - few) / 4
        said = f"{each:g} .item(), float() or bool() for each sample: every one waits for a GPU"
        return Verdict("fail", said, float(many))
    said = f"{few} .item(), float() or bool() a call, however large the batch" if few else "never waits for a GPU"
    return Verdict(passed_if(True), said, float(few))


def count_synchronisations(step: Step, batch: int) -> int:
    inputs = step.inputs(steps=[PLACES["middle step"]] * batch)
    stored = step.stored(inputs)
    with Counter() as counter:
        step.score(inputs, stored)
    return counter.count


class Counter(TorchDispatchMode):
    """Counts conversions of tensors to Python numbers."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))
