"""Noise that belongs to its sample: keyed by (seed, epoch, sample, step), and so the same in every micro-batch.

Nothing else decides it: neither the device, nor the backend, nor how an epoch's samples are dealt out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from ddpo_kernels import Backend, normal
from torch import Tensor

Purpose = Literal["rollout", "evaluation", "diversity", "learning"]
AT_ONCE = 2**17  # numbers: steps of small batches are drawn together, since a call's cost is that of 30,000 on a CPU


@dataclass(frozen=True)
class Noise:
    """A stream of standard normal noise; those of other seeds, epochs or purposes share nothing with it.

    Attributes:
        seed: of the run, below 2^32.
        epoch: below 2^30.
        purpose: what the noise is for.
        first: index in the epoch of the first sample that is drawn.
    """

    seed: int
    epoch: int
    purpose: Purpose
    first: int = 0

    @property
    def key(self) -> int:
        """Purpose, epoch and seed side by side in 64 bits, so that no two streams have one key."""
        return (get_args(Purpose).index(self.purpose) << 30 | self.epoch) << 32 | self.seed

    def after(self, samples: int) -> Noise:
        """The same stream without its first samples."""
        return dataclasses.replace(self, first=self.first + samples)

    def draw(self, steps: Tensor, shape: Sequence[int], backend: Backend = "auto") -> Tensor:
        """Noise of the first samples, each at its own step.

        Args:
            steps: [B], int64, >= 0; the noise is drawn on its device.
            shape: of the noise of one sample.
            backend: how it is computed, which changes no bit.
        Returns:
            [B, *shape], in torch's default dtype.
        """
        return self.at(torch.arange(len(steps), device=steps.device), steps, shape, backend)

    def at(self, samples: Tensor, steps: Tensor, shape: Sequence[int], backend: Backend = "auto") -> Tensor:
        """Noise of any samples [B], counted from the first, each at its own step; otherwise as `draw`."""
        return normal(self.key, self.first + samples, steps, shape, backend).to(torch.get_default_dtype())

    def draw_steps(
        self, steps: int, batch: int, shape: Sequence[int], device: torch.device, backend: Backend = "auto"
    ) -> Iterator[Tensor]:
        """Noise [batch, *shape] of the first samples at step 0, at step 1, ...; arguments as of `draw`."""
        samples = torch.arange(self.first, self.first + batch, device=device)
        for some in torch.arange(steps, device=device).split(max(1, AT_ONCE // (batch * math.prod(shape)))):
            pairs = samples.expand(len(some), batch).flatten(), some[:, None].expand(len(some), batch).flatten()
            drawn = normal(self.key, *pairs, shape, backend).to(torch.get_default_dtype())
            yield from drawn.unflatten(0, (len(some), batch))
