"""Small steps with a table of two rows, and what scoring and learning from them takes."""

from __future__ import annotations

from typing import Any

import torch
from ddpo_kernels import (
    AffineStep,
    coefficient_table,
)
from ddpo_kernels.affine import arguments
from torch import Tensor

TARGETS = ("none", "x_prev", "noise")
REFERENCES = ("none", "mean", "output")
CLIP = 0.8  # of the predicted x_0
SHAPE = (2, 3, 5)
BATCH = 3


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make_step(
    guided: bool = True, clip: float | None = None, dtype: torch.dtype = torch.float32, wide: bool = False
) -> AffineStep:
    """`wide`: a float64 table, for derivatives without rounding."""
    a, b, std = (torch.tensor(values, dtype=torch.float64) for values in ([0.9, 0.7], [-0.4, 0.3], [0.5, 0.8]))
    table = coefficient_table(a, b, std, *((b, a, b + 1) if clip else ()))
    output = normal(BATCH * (2 if guided else 1), *SHAPE, seed=0, dtype=dtype).requires_grad_()
    x_t = normal(BATCH, *SHAPE, seed=1, dtype=dtype)
    table = table if wide else table.float()
    return AffineStep(output, x_t, table, torch.tensor([1, 0, 1]), 3.0 if guided else 1.0, clip)


def make_target(step: AffineStep, kind: str) -> Tensor | None:
    return None if kind == "none" else normal(BATCH, *SHAPE, seed=2, dtype=step.x_t.dtype)


def make_reference(step: AffineStep, kind: str) -> Tensor | None:
    if kind == "mean":
        return normal(BATCH, *SHAPE, seed=3, dtype=step.table.dtype)
    return None if kind == "none" else normal(*step.model_output.shape, seed=3, dtype=step.model_output.dtype)


def inputs(step: AffineStep, target: str, reference: str, with_mean: bool = True) -> tuple[Any, ...]:
    """Arguments of `ops.step`."""
    given = make_target(step, target), target, make_reference(step, reference), reference, with_mean
    return *arguments(step), *given


def objective(values: Any) -> Tensor:
    """A sum of everything, each element with its own weight."""
    floats = [value for value in values if value.is_floating_point() and value.numel()]
    return sum((value * (torch.arange(value.numel()) + 1.0).view_as(value).cos()).sum() for value in floats)
