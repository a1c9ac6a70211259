"""One reward of a combination: its weight, and the scale that its scores are brought to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ddpo_bench.choices import Choice
from ddpo_bench.moments import Moments
from ddpo_bench.options import option

Normalise = Literal["none", "running", "group"]


@dataclass(frozen=True)
class Part:
    """A reward, and how it counts."""

    reward: Choice = field(metadata={"kind": "reward", "help": "the reward, with its options"})
    weight: float = option(1.0, "what its scores are multiplied by, after normalisation", minimum=-1e6, maximum=1e6)
    normalise: Normalise = option(
        "none",
        "in training, its scores less their mean and divided by their standard deviation: running, of all samples of "
        "the run so far; group, of the prompt's samples in the epoch; in evaluations, of the first evaluation",
    )


class Scale:
    """Normalisation of one part's scores.

    An evaluation is on the scale of the run's first, of the pretrained model, whose prompts and noise follow from the
    seed: so the evaluations of all algorithms can be compared, and a score is a number of its standard deviations.
    """

    def __init__(self, normalise: Normalise):
        self.normalise = normalise
        self.running, self.first_evaluation = Moments(), Moments()

    def alone(self, scores: Tensor) -> Tensor:
        """Scores, any shape, as far as nothing is known of others of their epoch; differentiable."""
        return self.running.standardised(scores) if self.normalise == "running" else scores

    def evaluated(self, scores: Tensor) -> Tensor:
        """Scores [N] of a whole evaluation, NaN where there is none."""
        if self.normalise == "none":
            return scores
        if not self.first_evaluation.count:
            self.first_evaluation.add(scores[~scores.isnan()])
        return self.first_evaluation.standardised(scores)

    def trained(self, scores: Tensor, prompts: list[str]) -> Tensor:
        """Scores [N] of a whole epoch, NaN where there is none, which the statistics then include."""
        if self.normalise == "group":
            return within_groups(scores, prompts)
        if self.normalise == "running":
            self.running.add(scores[~scores.isnan()])
        return self.alone(scores)

    def state_dict(self) -> dict[str, Any]:
        return {"running": asdict(self.running), "first_evaluation": asdict(self.first_evaluation)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.running, self.first_evaluation = Moments(**state["running"]), Moments(**state["first_evaluation"])


def within_groups(scores: Tensor, prompts: list[str]) -> Tensor:
    """Each score [N] against those of the same prompt; 0 where it is the only one."""
    normalised = torch.full_like(scores, torch.nan)
    groups: dict[str, list[int]] = {}
    for index in (~scores.isnan()).nonzero().flatten().tolist():
        groups.setdefault(prompts[index], []).append(index)
    for members in groups.values():
        moments = Moments()
        moments.add(scores[members])
        normalised[members] = moments.standardised(scores[members])
    return normalised
