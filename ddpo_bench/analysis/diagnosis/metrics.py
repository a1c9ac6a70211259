"""What a rule is given of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Metrics:
    """A run's rows of metrics.jsonl, and what decided them.

    Attributes:
        config: as config.yaml holds it; keys may be missing.
        epochs: rows of training, one an epoch.
        evaluated: rows of evaluations, the pretrained model's first.
        micro_batch: that the run used; 0 where it is not known.
        noisy_steps: of a trajectory, those that have a density; 0 where there are none, or it is not known.
    """

    config: Mapping[str, Any]
    epochs: Sequence[Row]
    evaluated: Sequence[Row] = field(default=())
    micro_batch: int = 0
    noisy_steps: int = 0

    @property
    def algorithm(self) -> Mapping[str, Any]:
        """Its name and options."""
        return self.config.get("algorithm", {})

    @property
    def advantages(self) -> Mapping[str, Any]:
        return self.config.get("advantages", {})

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; 0 where the algorithm does not count them so."""
        return int(self.algorithm.get("passes", 0)) * int(self.algorithm.get("minibatches", 0))

    def values(self, key: str) -> list[float]:
        """A metric of every epoch that has it."""
        return [float(row[key]) for row in self.epochs if row.get(key) is not None]


Rule = Callable[[Metrics], str | None]  # a sentence with the figures where a run shows it


def thirds(values: Sequence[float]) -> tuple[float, float, float]:
    """Means of the first, middle and last third of at least three values."""
    share = len(values) // 3
    return fmean(values[:share]), fmean(values[share:-share]), fmean(values[-share:])


def count(epochs: int, of: int) -> str:
    return f"{epochs} of {of} epoch{'s' * (of > 1)}"
