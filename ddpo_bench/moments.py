"""Mean and standard deviation of scores, of a batch or of all that were seen so far; float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

EPSILON = 1e-6  # added to every standard deviation that divides


def mean_and_std(values: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation; exact where all values are equal."""
    if values.min() == values.max():  # the mean of equal numbers may round to another, and noise would be learned
        return float(values[0]), 0.0
    return float(values.mean()), float(values.std(correction=0))


@dataclass
class Moments:
    """Mean and standard deviation of the scores so far, batch after batch (Chan et al. 1979).

    Attributes:
        count: of the scores.
        squares: sum of their squared deviations from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, scores: Tensor) -> None:
        """scores: [N], float64."""
        if not len(scores):
            return
        mean, std = mean_and_std(scores)
        apart, share = mean - self.mean, len(scores) / (self.count + len(scores))
        self.squares += std**2 * len(scores) + apart**2 * self.count * share
        self.mean += apart * share
        self.count += len(scores)

    def standardised(self, scores: Tensor) -> Tensor:
        """(scores - mean) / std, any shape; less the mean alone where all scores so far were equal."""
        std = math.sqrt(self.squares / self.count) if self.count else 0.0
        return (scores - self.mean) / (std + EPSILON if std else 1.0)
