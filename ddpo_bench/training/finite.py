"""Numbers that must be finite, named where they are not, and blamed on learning only after it began."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFinite(ArithmeticError):
    """A NaN or an infinity where a run cannot go on with one."""


def check_finite(updates: int, **values: Tensor) -> None:
    """Raise for the first of the values that holds a NaN or an infinity.

    Args:
        updates: epochs that were learned from before.
        values: by their names, each with one row a sample; a list of a trajectory's steps is its second dimension.
    Raises:
        NotFinite: with the likely cause.
    """
    for name, value in values.items():
        if not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).flatten(1).any(dim=1).sum()) if value.ndim > 1 else 0
            samples = f" of {bad} of {len(value)} samples" if bad else ""
            raise NotFinite(f"{name.replace('_', ' ')}{samples} are NaN or infinite {likely_cause(updates)}")


def likely_cause(updates: int) -> str:
    if updates:
        return f"after {updates} epochs of learning: it diverged. Lower algorithm.learning_rate."
    return (
        "before the first update, so that learning is not the cause but the model, its scheduler's settings or the "
        "precision. Set policy.precision: fp32, lower policy.guidance_scale, or check that the model makes pictures."
    )
