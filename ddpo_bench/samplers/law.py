"""The transition law of one denoising step: a Gaussian whose mean is made of a guided model output and x_t."""

from __future__ import annotations

from functools import cached_property

from ddpo_kernels import gaussian_kl, gaussian_log_prob, per_sample
from torch import Tensor


class GaussianLaw:
    """N(mean, std^2 I) whose mean is formed when first asked for.

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

    def kl(self, other: GaussianLaw) -> Tensor:
        return gaussian_kl(self.mean, other.mean, self.std)

    def kl_to_mean(self, mean: Tensor) -> Tensor:
        return gaussian_kl(self.mean, mean, self.std)

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + per_sample(self.std, noise) * noise
