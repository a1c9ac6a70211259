"""Scores of an epoch's or an evaluation's images: tried again, dropped or failed as configured, from all processes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.config import Scoring
from ddpo_bench.process_errors import one_error_for_all
from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.registry import label
from ddpo_bench.reward_bases.checking import FAILURE, RewardError, is_shipped, score
from ddpo_bench.training.overlap import Batches, Stalled, batches, is_apart

WAITS = (1.0, 4.0)  # s, before further attempts at what may pass
sleep = time.sleep


class Scores:
    """The scores of this process's share of images.

    Attributes:
        is_apart: whether images that are added are scored while others are sampled; otherwise by `output`.
    """

    def __init__(self, reward: Reward, settings: Scoring, queue: Batches | None, is_apart: bool):
        self.reward, self.settings, self.queue, self.is_apart = reward, settings, queue, is_apart
        self.waiting: list[tuple[Tensor, list[str], list[Metadata]]] = []

    def add(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> None:
        """images: [B, 3, H, W]."""
        if not len(images):
            return
        if self.queue and self.is_apart:
            self.queue.add(images, prompts, metadata)
        else:
            self.waiting.append((images, prompts, metadata))

    def output(self) -> RewardOutput:
        """Of all images that were added, in that order.

        Raises:
            RewardError: where the reward stalled, unless its images are to be dropped.
            Exception: what the reward raised.
        """
        if not self.queue:
            return joined([attempted(self.reward, self.settings, *batch) for batch in self.waiting])
        for waiting in self.waiting:
            self.queue.add(*waiting)
        outputs = []
        for batch, found in zip(self.queue.added, self.queue.outputs(), strict=True):
            if isinstance(found, Stalled):
                error = RewardError(f"reward {label('reward', self.reward)}: {found} (scoring.timeout).")
                if self.settings.on_error == "fail":
                    raise error
                found = without_scores(error, len(batch.images))
            outputs.append(found)
        return joined(outputs)

    def seconds_before(self, moment: float) -> float:
        return self.queue.seconds_before(moment) if self.queue else 0.0


@contextmanager
def scores(reward: Reward, settings: Scoring, policy: torch.device) -> Iterator[Scores]:
    """None yet; a reward is called in a thread where it is apart from the policy, or may stall.

    Args:
        policy: the device that samples.
    """
    apart = is_apart(reward, policy)
    if not apart and (not settings.timeout or is_shipped(reward)):
        yield Scores(reward, settings, None, False)
        return
    with batches(partial(attempted, reward, settings), settings.timeout, apart) as queue:
        yield Scores(reward, settings, queue, apart)


def attempted(
    reward: Reward, settings: Scoring, images: Tensor, prompts: list[str], metadata: list[Metadata]
) -> RewardOutput:
    """Scores of a batch; where they are dropped, those of its images alone that have none when asked one by one."""
    try:
        return again_if_it_may_pass(lambda: score(reward, images, prompts, metadata))
    except Exception as error:
        if settings.on_error == "fail":
            raise
        if len(images) == 1 or may_pass(error):
            return without_scores(error, len(images))
    one_by_one = zip(images.split(1), prompts, metadata, strict=True)
    return joined([attempted(reward, settings, image, [prompt], [facts]) for image, prompt, facts in one_by_one])


def again_if_it_may_pass(call: Callable[[], RewardOutput]) -> RewardOutput:
    for wait in WAITS:
        try:
            return call()
        except Exception as error:
            if not may_pass(error):
                raise
            print(f"{error}; trying again in {wait:g} s", file=sys.stderr, flush=True)
            sleep(wait)
    return call()


def may_pass(error: BaseException) -> bool:
    """Whether an error is one of connections and time, which another attempt may not meet."""
    cause = error.__cause__ if isinstance(error, RewardError) else error
    return isinstance(cause, (ConnectionError, TimeoutError))


def without_scores(error: Exception, count: int) -> RewardOutput:
    print(f"{count} images dropped: {error}", file=sys.stderr, flush=True)
    return RewardOutput(torch.full((count,), math.nan, dtype=torch.float64), {FAILURE: [str(error)] * count})


def joined(outputs: list[RewardOutput]) -> RewardOutput:
    """Several batches as one; what only some of them measured is None for the others."""
    info: dict[str, list[Any]] = {key: [] for output in outputs for key in output.info}
    for output in outputs:
        for key, values in info.items():
            values += output.info.get(key, ["" if key == FAILURE else None] * len(output.scores))
    return RewardOutput(torch.cat([torch.zeros(0, dtype=torch.float64), *(one.scores for one in outputs)]), info)


@dataclass(frozen=True)
class ScoredByAll:
    """Scores of the images of all processes.

    Attributes:
        scores: [N], float64, NaN where an image has no score.
        means: of the numbers in info, over the images that have them.
    """

    scores: Tensor
    means: dict[str, float]


def scored_by_all(reward: Reward, own: Scores, prompts: list[str], training: bool) -> ScoredByAll:
    """Scores of all images, each by the process whose share it is in.

    Args:
        own: of this process's share.
        prompts: N, of all.
        training: whether they are the samples of an epoch, not those of an evaluation.
    Raises:
        RewardError: where no image has a score.
        Exception: what the reward raised on any of the processes.
    """
    with one_error_for_all():
        output = own.output()
    scores = processes.gathered(output.scores, len(prompts))
    if scores.isnan().all():
        reasons = [reason for failures in processes.everyones(output.info.get(FAILURE, [])) for reason in failures]
        raise RewardError(f"reward {label('reward', reward)}: no image got a score, the first because: {reasons[0]}")
    numbers = numbers_of_all(output.info, len(prompts))
    means = {key: mean_of_scored(values) for key, values in numbers.items()}
    scores = reward.of_all(scores, numbers, prompts, training)
    return ScoredByAll(scores, {key: mean for key, mean in means.items() if math.isfinite(mean)})


def numbers_of_all(info: dict[str, list[Any]], count: int) -> dict[str, Tensor]:
    """Each number that rewards measure besides scores, [count], float64, NaN for images that do not have it.

    Args:
        info: of this process's share of `count` images.
    """
    numbers = {
        key: [math.nan if value is None else float(value) for value in values]
        for key, values in info.items()
        if all(value is None or isinstance(value, (int, float)) for value in values)
    }
    size = len(range(count)[processes.share(count)])
    found: dict[str, Tensor] = {}
    for key in sorted(set().union(*processes.everyones(list(numbers)))):
        own = torch.tensor(numbers.get(key, [math.nan] * size), dtype=torch.float64)
        found[key] = processes.gathered(own, count)
    return found


def mean_of_scored(values: Tensor) -> float:
    """The mean of those that are not NaN; NaN where all are."""
    return values[~values.isnan()].mean().item()
