"""The transition law of one denoising step: a Gaussian whose mean is made of a guided model output and x_t."""

from __future__ import annotations

from functools import cached_property

import ddpo_kernels
import torch
from ddpo_kernels import AffineStep, Backend, coefficient_table, gaussian_kl, gaussian_log_prob, per_sample
from ddpo_kernels.table import COLUMNS
from torch import Tensor

from ddpo_bench.protocols import Law


def law_table(on_x: Tensor, on_m: Tensor, std: Tensor, *clipping: Tensor) -> Tensor:
    """The rows that the step's kernels read, [T, 8] float64; without noise and without density where std is 0.

    Args:
        on_x, on_m, std: [T], float64; the mean is on_x * x_t + on_m * model output, std at least 0.
        clipping: the columns of a predicted x_0 that is clipped.
    """
    has_noise = std > 0
    table = coefficient_table(on_x, on_m, torch.where(has_noise, std, 1.0), *clipping)
    return table * (has_noise[:, None] | (torch.arange(len(COLUMNS)) < COLUMNS.index("std")))


class GaussianLaw:
    """N(mean, std^2 I) whose mean is formed when first asked for, in torch operations.

    Subclasses give `form_mean`.
    """

    def __init__(self, std: Tensor):
        self.std = std  # [B]

    def form_mean(self) -> Tensor:
        """[B, C, H, W]."""
        raise NotImplementedError

    @cached_property
    def mean(self) -> Tensor:
        return self.form_mean()

    def log_prob(self, x_prev: Tensor) -> Tensor:
        return gaussian_log_prob(x_prev, self.mean, self.std)

    def kl(self, other: Law | Tensor) -> Tensor:
        mean = other if isinstance(other, Tensor) else other.mean
        return gaussian_kl(self.mean, mean.detach(), self.std)

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + per_sample(self.std, noise) * noise

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        x_prev = self.sample(noise.to(self.mean.dtype)).to(noise.dtype)
        return x_prev, self.log_prob(x_prev)


class AffineLaw:
    """N(on_x * x_t + on_m * m, std^2 I), whose every question is one fused operation where the backend has it."""

    def __init__(self, step: AffineStep, backend: Backend):
        self.step = step
        self.backend = backend

    @property
    def mean(self) -> Tensor:
        return ddpo_kernels.form_mean(self.step)

    @property
    def std(self) -> Tensor:
        return ddpo_kernels.std(self.step)

    def log_prob(self, x_prev: Tensor) -> Tensor:
        return ddpo_kernels.score(self.step, x_prev, backend=self.backend).log_prob

    def kl(self, other: Law | Tensor) -> Tensor:
        if isinstance(other, AffineLaw):
            return ddpo_kernels.score(self.step, None, other.step.model_output, "output", self.backend).kl
        mean = other if isinstance(other, Tensor) else other.mean
        return ddpo_kernels.score(self.step, None, mean, "mean", self.backend).kl

    def sample(self, noise: Tensor) -> Tensor:
        return ddpo_kernels.sample(self.step, noise, backend=self.backend).x_prev

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        drawn = ddpo_kernels.sample(self.step, noise, backend=self.backend)
        return drawn.x_prev, drawn.log_prob
