"""The Ray cluster of a command: one that exists, or one of this machine alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpo_bench.config import Resources


class RayUnavailable(Exception):
    """Ray is not installed, or no cluster answers; the message is one line."""


def refuse_missing_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise RayUnavailable("--executor ray: ray is not installed. Run: pip install 'ddpo-bench[ray]'.")


class Cluster:
    """A Ray cluster to which this process is connected."""

    def __init__(self, address: str | None):
        """Connect.

        Args:
            address: "auto", "host:port" or "ray://host:port"; None is that of the variable RAY_ADDRESS or, where it
                is not set, a cluster on this machine that ends with this process.
        Raises:
            RayUnavailable: where Ray is not installed or does not answer.
        """
        refuse_missing_ray()
        import ray

        address = address or os.environ.get("RAY_ADDRESS") or "local"
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RayUnavailable(f"--ray-address {address}: no Ray cluster answers: {reason}") from None
        self.ray = ray

    def total(self, kind: str) -> int:
        """How many "CPU" or "GPU" its nodes have now; an autoscaler may add some."""
        return int(self.ray.cluster_resources().get(kind, 0))

    def needs(self, resources: Resources) -> dict[str, int]:
        """Ray's options of a task for a run's resources: a core for each process, and the GPUs."""
        return {"num_cpus": resources.processes, "num_gpus": resources.gpus_of(self.total("GPU"))}

    def room(self, wanted: Collection[Resources]) -> int:
        """How many workers for the smallest of the `wanted` resources its nodes have room for; at least 1."""
        needs = [self.needs(resources) for resources in wanted]
        cores = max((self.total("CPU") // need["num_cpus"] for need in needs), default=0)
        gpus = max((self.total("GPU") // need["num_gpus"] for need in needs if need["num_gpus"]), default=cores)
        return max(1, min(cores, gpus))

    def working_folder(self) -> Path | None:
        """The folder in which tasks are to work; None in a job of which Ray gives each node a copy of its folder."""
        return None if self.ray.get_runtime_context().runtime_env.get("working_dir") else Path.cwd()

    def close(self) -> None:
        self.ray.shutdown()


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """A cluster, until the end of the block; `address` as of `Cluster`."""
    cluster = Cluster(address)
    try:
        yield cluster
    finally:
        cluster.close()
