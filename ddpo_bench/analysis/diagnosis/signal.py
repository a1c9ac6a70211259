"""Rules about what there is to learn from, rewards and advantages, and about what became of the images."""

from __future__ import annotations

import math
from statistics import fmean

from ddpo_bench.analysis.diagnosis.metrics import Metrics, Row

HALF = 0.5  # of the samples: more queries than not bought nothing
BETWEEN = 3.0  # times the spread within prompts: nine tenths of the variance then say which prompt it was
CLIPPED = 0.05  # of the samples: by Chebyshev, at most 1/25 of any rewards lie 5 standard deviations from their mean
COLLAPSED = 0.25  # of the pretrained model's diversity
OWN_SIGNAL = ("sac", "draft")  # learn from rewards, not advantages


def no_advantages(run: Metrics) -> str | None:
    """Samples that taught nothing, because all rewards that they are compared with are equal."""
    found = [taught_nothing(run, row) for row in run.epochs]
    shares = [share for share in found if share is not None]
    if not shares or run.algorithm.get("name") in OWN_SIGNAL or fmean(shares) < HALF:
        return None
    if min(shares) == 1:
        return (
            "all advantages were 0 in every epoch, because the rewards that were compared did not vary, so nothing was "
            "learned from the reward"
        )
    return f"{100 * fmean(shares):.0f} % of the samples taught nothing: all rewards of their group were equal"


def taught_nothing(run: Metrics, row: Row) -> float | None:
    """The share of an epoch's samples; rows of older versions know of whole epochs alone."""
    for key in ("dpo/tied_fraction", "no_advantage_fraction"):
        if key in row:
            return float(row[key])
    if "advantage_std" not in row or run.config.get("samples_per_epoch") == 1:  # one advantage has no spread
        return None
    return float(row["advantage_std"] == 0)


def spread_between_prompts(run: Metrics) -> str | None:
    """Rewards that tell prompts apart rather than samples, where advantages compare samples of different prompts."""
    rows = [row for row in run.epochs if "reward_std_within" in row]
    if not rows or run.algorithm.get("name") in (*OWN_SIGNAL, "dpo") or compares_within_prompts(run):
        return None
    within = math.sqrt(fmean(row["reward_std_within"] ** 2 for row in rows))
    between = math.sqrt(max(0.0, fmean(row["reward_std"] ** 2 for row in rows) - within**2))
    if between <= BETWEEN * within:
        return None
    return (
        f"rewards of different prompts differ by {between:.3g} (standard deviation), those of one prompt by "
        f"{within:.3g}, and the advantages compare different prompts: they say which prompts are easy"
    )


def compares_within_prompts(run: Metrics) -> bool:
    """`per_prompt` compares whole epochs until it has seen a prompt often enough."""
    name = run.advantages.get("name")
    if name == "group":
        return run.advantages.get("std", "group") == "group"
    return name == "per_prompt" and len(run.epochs) >= run.advantages.get("min_count", 0)


def clipped_advantages(run: Metrics) -> str | None:
    found = run.values("advantage_clipped_fraction")
    if not found or run.algorithm.get("name") in OWN_SIGNAL or fmean(found) < CLIPPED:
        return None
    return (
        f"{100 * fmean(found):.0f} % of the advantages were at advantages.clip, {run.advantages.get('clip')}: samples "
        "beyond it count alike, however much better one is"
    )


def collapsed_policy(run: Metrics) -> str | None:
    """Samples of one prompt that have become alike."""
    found = [row["eval/diversity"] for row in run.evaluated if row.get("eval/diversity") is not None]
    if len(found) < 2 or found[-1] >= COLLAPSED * found[0]:
        return None
    return f"eval/diversity fell from {found[0]:.3g} to {found[-1]:.3g}: samples of one prompt have become nearly alike"
