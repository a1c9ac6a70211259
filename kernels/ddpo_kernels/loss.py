"""The policy loss: clipped importance ratio and KL penalty, with their statistics; the torch reference.

PPO (Schulman et al. 2017, eq. 7) and the KL penalty (eq. 8) are two ends of one formula:
    mean(max(-A r, -A clip(r, 1 - c, 1 + c)) + beta * KL),    r = exp(log_prob - log_prob_old)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STATISTICS = ("ratio_mean", "clip_fraction", "kl_k1", "kl_k2", "kl_k3", "kl", "log_ratio_max")
SERIES_BELOW = 0.1


class PolicyLoss(NamedTuple):
    """A loss and what it saw.

    Attributes:
        loss: [], differentiable in the new log-prob and KL.
        statistics: [7], as named in `STATISTICS`: mean ratio, share of ratios outside the clip range, the estimators
            k1 = -log r, k2 = (log r)^2 / 2 and k3 = r - 1 - log r of KL(old || new) (Schulman 2020), the exact KL
            where given, and the largest |log r|; log-prob and KL in mean units.
    """

    loss: Tensor
    statistics: Tensor


def excess(log_ratio: Tensor) -> Tensor:
    """exp(d) - 1 - d, by its series where it would cancel."""
    d = log_ratio
    series = d.square() / 2 * (1 + d / 3 * (1 + d / 4 * (1 + d / 5 * (1 + d / 6 * (1 + d / 7)))))
    return torch.where(d.abs() < SERIES_BELOW, series, d.exp() - 1 - d)


def reference_policy_loss(
    log_prob: Tensor,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float | None,
    kl_weight: float,
    kl: Tensor | None,
) -> PolicyLoss:
    """The loss in plain torch operations, differentiable in log_prob and kl."""
    log_ratio = log_prob - log_prob_old
    ratio = log_ratio.exp()
    objective = -advantages * ratio
    outside = torch.zeros_like(ratio)
    if clip_range is not None:
        bounded = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
        objective = torch.maximum(objective, bounded)
        outside = ((ratio - 1).abs() > clip_range).to(ratio.dtype)
    if kl is not None:
        objective = objective + kl_weight * kl
    with torch.no_grad():
        exact = torch.zeros_like(ratio) if kl is None else kl
        means = torch.stack((ratio, outside, -log_ratio, log_ratio.square() / 2, excess(log_ratio), exact)).mean(1)
        statistics = torch.cat((means, log_ratio.abs().amax(0, keepdim=True)))
    return PolicyLoss(objective.mean(), statistics)


def reference_loss_and_gradients(
    log_prob: Tensor,
    kl: Tensor | None,
    log_prob_old: Tensor,
    advantages: Tensor,
    clip_range: float | None,
    kl_weight: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, statistics, and the gradients by log_prob [B] and by kl [B] (empty where there is none) in closed form.

    A clipped transition has no gradient; a NaN is not clipped away.
    """
    loss, statistics = reference_policy_loss(log_prob, log_prob_old, advantages, clip_range, kl_weight, kl)
    ratio = (log_prob - log_prob_old).exp()
    slope = -advantages * ratio
    if clip_range is not None:
        bounded = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
        slope = torch.where(slope < bounded, 0, slope)
    by_kl = log_prob.new_empty(0) if kl is None else torch.full_like(kl, kl_weight / len(kl))
    return loss, statistics, slope / len(slope), by_kl
