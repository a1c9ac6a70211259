"""The share of an epoch's CPU seconds that the network's passes take which sampling and learning need.

    OMP_NUM_THREADS=1 python benchmarks/epoch_share.py CONFIG

CONFIG is a file as for `ddpo-bench train`. Needed are the passes of the trained network that draw the rollout or are
differentiated, their backward passes, and the decoding of the images. Not needed: passes that only measure, rewards,
metrics, optimiser steps and checkpoints. Prints the seconds of each epoch except the first, and the median share.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy
from ddpo_bench.training import trainer
from ddpo_bench.training.rollout import Collector
from ddpo_bench.yaml_file import load_yaml


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the network's share of an epoch's CPU seconds.")
    parser.add_argument("config", type=Path, help="as for `ddpo-bench train`")
    path = parser.parse_args().config
    torch.set_num_threads(1)
    pairs = epoch_seconds(run_config(load_yaml(path), str(path)))
    for needed, epoch in pairs:
        print(f"epoch {epoch:.2f} s, the network's passes {needed:.2f} s: {needed / epoch:.1%}")
    print(f"median share {statistics.median(needed / epoch for needed, epoch in pairs):.1%}")


def epoch_seconds(config: RunConfig) -> list[tuple[float, float]]:
    """Train in a temporary folder: CPU seconds of the needed passes, and of the whole epoch, for each but the first."""
    clock = Clock()
    with clock.counting(), tempfile.TemporaryDirectory() as folder:
        trainer.train(config, Path(folder) / "run", clock.on_row)
    return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(clock.marks)]


class Clock:
    """CPU seconds inside `predict` while sampling or with gradients, inside `backward`, and inside `decode`."""

    def __init__(self) -> None:
        self.needed = 0.0
        self.sampling = False
        self.marks: list[tuple[float, float]] = []

    def on_row(self, row: dict[str, Any]) -> None:
        if "queries" in row:  # the last row of an epoch without evaluation
            self.marks.append((self.needed, time.process_time()))

    @contextmanager
    def counting(self) -> Iterator[None]:
        predict, decode = DiffusersPolicy.predict, DiffusersPolicy.decode
        backward, sample = torch.Tensor.backward, Collector.sample

        def sampling(*args: Any) -> Any:
            self.sampling = True
            try:
                return sample(*args)
            finally:
                self.sampling = False

        with (
            patch.object(Collector, "sample", sampling),
            patch.object(DiffusersPolicy, "predict", self.timed(predict, self.is_needed)),
            patch.object(DiffusersPolicy, "decode", self.timed(decode)),
            patch.object(torch.Tensor, "backward", self.timed(backward)),
        ):
            yield

    def is_needed(self) -> bool:
        return self.sampling or torch.is_grad_enabled()

    def timed(self, function: Callable[..., Any], counts: Callable[[], bool] = lambda: True) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            result = function(*args, **options)
            self.needed += (time.process_time() - start) * counts()
            return result

        return call


if __name__ == "__main__":
    main()
