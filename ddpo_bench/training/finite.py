"""A check for NaN and infinity, with the likely cause: learning, if it has begun, or else the model."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFinite(ArithmeticError):
    """A NaN or an infinity in numbers with which a run cannot continue."""


def check_finite(updates: int, **values: Tensor) -> None:
    """Raise for the first of the values that contains a NaN or an infinity.

    Args:
        updates: number of epochs of learning so far.
        values: tensors by name, each with one row per sample.
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
        "before the first update, so the cause is not learning but the model, the settings of its scheduler, or the "
        "precision. Set policy.precision: fp32, lower policy.guidance_scale, or check that the model makes pictures."
    )
