"""The law of a DDIM step under dynamic thresholding (Saharia et al. 2022), which clips x0_hat by a quantile of itself.

Sorting each sample has no place in a fused kernel: this law is made of torch operations on every device.
"""

from __future__ import annotations

import torch
from ddpo_kernels import guided, per_sample
from torch import Tensor

from ddpo_bench.samplers.ddim_schedule import Coefficients
from ddpo_bench.samplers.law import GaussianLaw


class ThresholdedLaw(GaussianLaw):
    """For a batch whose samples may be at different timesteps.

    Args:
        thresholding: as of `dynamic_threshold`; the others as of `AffineLaw`'s step.
    """

    def __init__(
        self,
        thresholding: tuple[float, float],
        coefficients: Coefficients,
        model_output: Tensor,
        x_t: Tensor,
        guidance_scale: float = 1.0,
        use_clipped_model_output: bool = False,
    ):
        super().__init__(coefficients.std)
        self.thresholding = thresholding
        self.coefficients = coefficients
        self.model_output = model_output.to(coefficients.std.dtype)
        self.x_t = x_t.to(coefficients.std.dtype)
        self.guidance_scale = guidance_scale
        self.use_clipped_model_output = use_clipped_model_output

    def form_mean(self) -> Tensor:
        output, k = guided(self.model_output, len(self.x_t), self.guidance_scale), self.coefficients
        x0 = per_sample(k.x0_x, output) * self.x_t + per_sample(k.x0_m, output) * output
        eps = per_sample(k.eps_x, output) * self.x_t + per_sample(k.eps_m, output) * output
        clipped = dynamic_threshold(x0, *self.thresholding)
        if self.use_clipped_model_output:
            eps = eps - per_sample(k.signal_to_noise, output) * (clipped - x0)
        return per_sample(k.signal, output) * clipped + per_sample(k.direction, output) * eps


def dynamic_threshold(x0: Tensor, quantile: float, largest: float) -> Tensor:
    """Each sample clipped to +-s and divided by s, the quantile of its absolute values, but 1 <= s <= largest.

    Args:
        x0: [B, C, H, W], float32 or float64.
    """
    limit = torch.quantile(x0.abs().flatten(1), quantile, dim=1).clamp(1, largest)
    limit = per_sample(limit, x0)
    return x0.clamp(-limit, limit) / limit
