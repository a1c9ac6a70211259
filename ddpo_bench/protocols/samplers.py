"""What a sampler must offer: transition laws over a schedule of steps, and the forward process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from ddpo_kernels import Backend
from torch import Tensor


class Law(Protocol):
    """The Gaussian N(mean, std^2 I) of one denoising step; lazy, so that nothing is computed that nobody asks for."""

    @property
    def mean(self) -> Tensor:
        """[B, C, H, W]."""

    @property
    def std(self) -> Tensor:
        """[B]; 0 at a deterministic step, which has no density."""

    def log_prob(self, x_prev: Tensor) -> Tensor:
        """[B], mean units; differentiable in the model output, not in x_prev; means nothing where std is 0."""

    def kl(self, other: Law | Tensor) -> Tensor:
        """Exact KL to another law of the same step, [B], mean units; symmetric, because the two share std.

        It counts as 0 at a deterministic step.

        Args:
            other: the law, or its mean [B, C, H, W]; it is not differentiated.
        """

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, [B, C, H, W]; differentiable (reparameterised)."""

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_prev = mean + std * noise in the noise's dtype, and the log-prob [B] of x_prev as it is stored, the same
        bits as `log_prob` gives."""


class Sampler(Protocol):
    """Turns model outputs into transition laws over a fixed schedule of steps.

    A class that has this one as its base inherits what most samplers say.
    """

    steps: int  # of a trajectory, T
    timesteps: Tensor  # [T], as the model takes them, descending
    backend: Backend  # of what is computed from its laws

    @property
    def noisy_steps(self) -> range:
        """The steps whose laws have a std above 0, and so a density; no other one is trained.  By default all."""
        return range(self.steps)

    def for_trajectories(self) -> Sampler:
        """What draws one batch of trajectories, step by step from the first; another object where steps remember."""
        return self

    def fits(self, scheduler_config: Mapping[str, Any]) -> None:
        """Refuse the scheduler configuration of a model that cannot be sampled with this sampler and its options.

        Raises:
            ValueError: what the scheduler is and what to do, in one line that begins with the key to change.
        """

    def start(self, scheduler_config: Mapping[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        """Build the schedule and keep what laws are made of.

        Args:
            backend: of the laws' arithmetic.
        """

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        """Law of x_{t-1}.

        Args:
            model_output: [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W]; any precision.
            x_t: [B, C, H, W] float32.
            step: [B], integer index into `timesteps`; samples of one batch may be at different steps.
            guidance_scale: classifier-free guidance; 1.0 is none.
        """

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The forward process: x_t at `timesteps[step]`, and what the model is to predict of it.

        Args:
            x_0, noise: [B, C, H, W], float32.
            step: [B], integer index into `timesteps`, or their number for where the last step ends.
        Returns:
            x_t and the target, [B, C, H, W] each.
        """
