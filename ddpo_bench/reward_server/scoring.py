"""The rewards of a server, which score one request after the other, as a run would score that batch itself."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from torch import Tensor

from ddpo_bench.protocols import Metadata, Reward, RewardOutput
from ddpo_bench.reward_bases.checking import score
from ddpo_bench.reward_server.settings import Served, Settings

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # s


class Scoring:
    """Started rewards, and what was measured of them.

    Requests are not merged into larger batches: scores would differ in their last bits with who else asks.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.served: dict[str, Served] = {one.known_as: one for one in settings.rewards}
        self.fingerprints = {name: one.fingerprint for name, one in self.served.items()}
        self.rewards: dict[str, Reward] = {name: one.reward.build() for name, one in self.served.items()}
        self.pool = ThreadPoolExecutor(max_workers=1)  # rewards may change the state of the whole process for a time
        self.waiting = 0
        self.registry = CollectorRegistry()
        labels, registry = ["reward"], self.registry
        self.images = Counter("ddpo_bench_reward_images", "images scored", labels, registry=registry)
        self.failures = Counter("ddpo_bench_reward_failures", "requests that failed", labels, registry=registry)
        self.seconds = Histogram(
            "ddpo_bench_reward_seconds", "scoring of a request", labels, registry=registry, buckets=BUCKETS
        )
        Gauge("ddpo_bench_reward_waiting", "requests at once", registry=registry).set_function(lambda: self.waiting)

    def start(self) -> None:
        """Load what the rewards need.

        Raises:
            RewardError: where one cannot be loaded.
        """
        found = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(found if self.settings.device == "auto" else self.settings.device)
        for reward in self.rewards.values():
            reward.start(device)

    async def score(self, name: str, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """What a reward gives for a batch, once it is its turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self.measured, name, images, prompts, metadata)

    def measured(self, name: str, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        clock = time.perf_counter()
        try:
            with torch.no_grad():
                output = score(self.rewards[name], images, prompts, metadata)
        except Exception:
            self.failures.labels(name).inc()
            raise
        self.images.labels(name).inc(len(images))
        self.seconds.labels(name).observe(time.perf_counter() - clock)
        return output
