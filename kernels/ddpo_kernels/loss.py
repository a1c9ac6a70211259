"""PPO's loss on log-probs, with the statistics that are told of it; the torch reference.

Schulman et al. 2017, eq. 7, per transition and with its sign turned, because it is minimised:
    max(-A r, -A clip(r, 1 - c, 1 + c)),    r = exp(log_prob - log_prob_old)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SERIES_BELOW = 0.1


class Statistics(NamedTuple):
    """What a loss saw, [] each, not differentiable.

    Attributes:
        clip_fraction: share of ratios outside the clip range.
        kl_k1, kl_k3: means of the estimators k1 = -log r and k3 = r - 1 - log r of KL(old || new) (Schulman 2020),
            mean units.
    """

    clip_fraction: Tensor
    kl_k1: Tensor
    kl_k3: Tensor


def excess(log_ratio: Tensor) -> Tensor:
    """exp(d) - 1 - d, by its series where it would cancel."""
    d = log_ratio
    series = d.square() / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5 * (1 + d / 6 * (1 + d / 7)))))
    return torch.where(d.abs() < SERIES_BELOW, series, d.exp() - 1 - d)


def reference_ppo_loss(
    log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor]:
    """Loss [] and statistics [3] in plain torch operations; the loss is differentiable in log_prob."""
    log_ratio = log_prob - log_prob_old
    ratio = log_ratio.exp()
    bounded = ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = torch.maximum(-advantages * ratio, -advantages * bounded).mean()
    with torch.no_grad():
        outside = ((ratio - 1).abs() > clip_range).to(ratio.dtype)
        statistics = torch.stack((outside, -log_ratio, excess(log_ratio))).mean(1)
    return loss, statistics


def reference_loss_and_gradient(
    log_prob: Tensor, log_prob_old: Tensor, advantages: Tensor, clip_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, statistics, and the gradient by log_prob [B] in closed form.

    A clipped transition has no gradient; a NaN is not clipped away.
    """
    loss, statistics = reference_ppo_loss(log_prob, log_prob_old, advantages, clip_range)
    ratio = (log_prob - log_prob_old).exp()
    slope, bounded = -advantages * ratio, -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return loss, statistics, torch.where(slope < bounded, 0, slope) / len(slope)
