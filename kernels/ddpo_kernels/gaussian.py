"""Log-prob and exact KL of a Gaussian whose mean is already formed, for laws that are not affine (thresholding)."""

from __future__ import annotations

import math

from torch import Tensor

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[B] as [B, 1, ...], to broadcast against `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def gaussian_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Gaussian log-density with its constants, averaged over latent dimensions.

    Args:
        x, mean: [B, C, H, W]; x is a stored action, never differentiated.
        std: [B], > 0.
    Returns:
        [B], mean units.
    """
    z = (x.detach() - mean) / per_sample(std, mean)
    return -0.5 * z.square().flatten(1).mean(1) - std.log() - LOG_SQRT_2PI


def gaussian_kl(mean_p: Tensor, mean_q: Tensor, std: Tensor) -> Tensor:
    """Exact KL(p || q) of two Gaussians that share a standard deviation, averaged over latent dimensions.

    Args:
        mean_p, mean_q: [B, C, H, W].
        std: [B], > 0.
    Returns:
        [B], mean units (multiply by C*H*W for nats).
    """
    return 0.5 * ((mean_p - mean_q) / per_sample(std, mean_p)).square().flatten(1).mean(1)
