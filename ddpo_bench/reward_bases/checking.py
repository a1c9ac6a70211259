"""Scoring with every reward's promises held: one finite float64 score an image, or one clear line.

An image may stay without a score, NaN, where the reward says why: in the entry "failure" of its info.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import label
from ddpo_bench.reward_bases.process_state import kept_process_state
from ddpo_bench.reward_bases.reward_error import RewardError
from ddpo_bench.reward_bases.user_code import told

FAILURE = "failure"  # the info that holds why an image has no score; "" where it has one


def score(reward: Reward, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
    """Scores of images under any reward, checked and converted.

    Args:
        images: [N, 3, H, W], float in [0, 1], on any device.
        prompts, metadata: N of each.
    Returns:
        scores [N], float64 on the CPU (from any tensor, array or list of numbers), NaN where info["failure"] says why
        there is none; info as lists of N entries.
    Raises:
        RewardError: naming the reward, and the prompt where one is to blame.
    """
    output = checked(reward, images, prompts, metadata)
    if any(failures := output.info.get(FAILURE, [])):
        print(f"reward {label('reward', reward)}: {missing(output.scores, failures)}", file=sys.stderr, flush=True)
    return output


def checked(reward: Reward, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
    """As `score`, without a line on standard error where there is no score."""
    who = f"reward {label('reward', reward)}"
    if not torch.isfinite(images).all():
        first = int((~torch.isfinite(images)).flatten(1).any(dim=1).nonzero()[0])
        raise RewardError(f"{who}: the image of {prompts[first]!r} has NaN or infinite pixels.")
    output = called(who, reward, images, prompts, metadata)
    if not isinstance(output, RewardOutput):
        raise RewardError(f"{who}: returned {type(output).__name__}, not a RewardOutput.")
    info = checked_info(who, output.info, len(prompts))
    failures = info.get(FAILURE, [""] * len(prompts))
    return RewardOutput(checked_scores(who, output.scores, prompts, failures), info)


def missing(scores: Tensor, failures: list[Any]) -> str:
    """How many images have no score, and why the first of them has none."""
    count, first = int(scores.isnan().sum()), next(filter(None, failures))
    return f"{count} of {len(scores)} images have no score, the first because: {first}"


def called(who: str, reward: Reward, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> Any:
    """What the reward returns for copies, so that it changes nothing for those who look at the images after it."""
    copies = images.clone(), list(prompts), [copy.deepcopy(facts) for facts in metadata]
    try:
        with kept_process_state(), reward.in_use():
            return reward(*copies)
    except RewardError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        if is_shipped(reward):
            raise
        raise RewardError(f"{who}: {told(error)}") from error


def is_shipped(reward: Reward) -> bool:
    """Whether the reward's code is ours, and not a user's function."""
    module = type(reward).__module__
    return module.startswith("ddpo_bench.rewards.") and module != "ddpo_bench.rewards.python_function"


def checked_scores(who: str, raw: Any, prompts: list[str], failures: list[Any]) -> Tensor:
    scores, count = to_float64(who, raw), len(prompts)
    if scores.shape != (count,):
        found = list(scores.shape)
        raise RewardError(f"{who}: returned scores of shape {found} for {count} images; return shape [{count}].")
    named = torch.tensor([bool(failure) for failure in failures])
    if not scores[named].isnan().all():
        raise RewardError(
            f"{who}: info 'failure' names a reason for an image that has a score; return NaN as its score."
        )
    bad = (~torch.isfinite(scores) & ~named).nonzero().flatten().tolist()
    if bad:
        value, prompt = float(scores[bad[0]]), prompts[bad[0]]
        raise RewardError(f"{who}: {len(bad)} of {count} scores are not finite, first {value} for {prompt!r}.")
    return scores


def to_float64(who: str, raw: Any) -> Tensor:
    try:
        if isinstance(raw, Tensor) and not raw.is_complex() and not raw.is_nested:
            dense = raw.detach().to_dense()
            return dense.to("cpu", torch.float64, copy=True)  # a buffer of the reward's may change later
        if isinstance(raw, (list, tuple)):
            raw = [entry.detach() if isinstance(entry, Tensor) else entry for entry in raw]
        return torch.tensor(raw.tolist() if hasattr(raw, "tolist") else raw, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = type(raw).__name__
        raise RewardError(f"{who}: returned {found} that is not all real numbers; return one an image.") from None


def checked_info(who: str, info: Any, count: int) -> dict[str, list[Any]]:
    if not isinstance(info, dict):
        raise RewardError(f"{who}: returned info of type {type(info).__name__}; return a dict of lists.")
    return {key: entries(who, key, values, count) for key, values in info.items()}


def entries(who: str, key: str, values: Any, count: int) -> list[Any]:
    values = values.tolist() if isinstance(values, (Tensor, np.ndarray)) else values
    if not isinstance(values, (list, tuple)):
        raise RewardError(f"{who}: info {key!r} must be a list of {count} entries; got {type(values).__name__}.")
    if len(values) != count:
        raise RewardError(f"{who}: info {key!r} must have {count} entries, one an image; got {len(values)}.")
    return list(values)
