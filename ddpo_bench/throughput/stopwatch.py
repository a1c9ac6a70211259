"""Seconds by phase, on any device: CPU seconds on a CPU, on which other processes run too."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Adds up the time of phases; on a GPU by events, so that measuring makes nothing wait."""

    def __init__(self, device: torch.device):
        self.device = device
        self.spans: list[tuple[str, Any, Any]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the block; phases may lie in each other."""
        start = self.now()
        yield
        self.spans.append((name, start, self.now()))

    def now(self) -> Any:
        if self.device.type != "cuda":
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> dict[str, float]:
        """By phase, when the device has done what it was given."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(self.device)
        total: dict[str, float] = defaultdict(float)
        for name, start, end in self.spans:
            total[name] += start.elapsed_time(end) * 1e-3 if on_gpu else end - start
        return dict(total)
