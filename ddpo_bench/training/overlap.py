"""Scores computed in a thread while the policy samples on: batch after batch, in the order in which they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from torch import Tensor

from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.reward_bases.process_state import shared

Score = Callable[[Tensor, list[str], list[Metadata]], RewardOutput]


class Stalled(Exception):
    """Scores that did not come in time."""


def is_apart(reward: Reward, policy: torch.device) -> bool:
    """Whether a reward waits for something else than what samples, so that both can work at once."""
    if reward.waits_for == "gpu":
        place = torch.device(getattr(reward, "device", None) or policy)
        return place.type != policy.type or (None not in (place.index, policy.index) and place.index != policy.index)
    return reward.waits_for == "network"


@dataclass
class Batch:
    """Images to score, and when that was done."""

    images: Tensor
    prompts: list[str]
    metadata: list[Metadata]
    scores: Future[RewardOutput] = field(default_factory=Future)
    start: float = float("inf")
    end: float = float("inf")


class Batches:
    """Batches of images that one thread scores.

    The thread is a daemon: a reward that stalls must not keep the process from ending.
    """

    def __init__(self, score: Score, timeout: float, is_shared: bool):
        """Begin with none.

        Args:
            score: of one batch.
            timeout: the longest time to wait for the scores of a batch, s; 0: no limit.
            is_shared: whether the caller goes on meanwhile.
        """
        self.score, self.timeout, self.is_shared = score, timeout, is_shared
        self.waiting: SimpleQueue[Batch | None] = SimpleQueue()
        self.added: list[Batch] = []
        self.begin()

    def begin(self) -> None:
        """A thread, in the place of one that stalls."""
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def add(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> None:
        self.added.append(Batch(images, prompts, metadata))
        self.waiting.put(self.added[-1])

    def work(self) -> None:
        shared.set(self.is_shared)
        while self.thread is threading.current_thread() and (batch := self.waiting.get()) is not None:
            batch.start = time.perf_counter()
            try:
                output = self.score(batch.images, batch.prompts, batch.metadata)
            except BaseException as error:
                batch.scores.set_exception(error)
            else:
                batch.scores.set_result(output)
            batch.end = time.perf_counter()

    def outputs(self) -> Iterator[RewardOutput | Stalled]:
        """The scores of each batch, or that they did not come in time.

        Raises:
            Exception: what the reward raised.
        """
        for batch in self.added:
            try:
                yield batch.scores.result(self.timeout or None)
            except TimeoutError:
                if batch.scores.done():  # the reward's own
                    raise
                self.begin()
                yield Stalled(f"no scores of {len(batch.prompts)} images within {self.timeout:g} s")

    def seconds_before(self, moment: float) -> float:
        """How long batches were scored before a moment of `time.perf_counter`."""
        return sum(max(0.0, min(batch.end, moment) - batch.start) for batch in self.added)


@contextmanager
def batches(score: Score, timeout: float, is_shared: bool) -> Iterator[Batches]:
    """Batches that are given up where the block ends with an error."""
    made = Batches(score, timeout, is_shared)
    try:
        yield made
    finally:
        abandoned, made.waiting = made.waiting, SimpleQueue()
        made.waiting.put(None)
        abandoned.put(None)
