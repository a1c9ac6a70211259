"""What the server counts and measures of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Measured:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "ddpo_bench_serve_"
        self.generations = Counter(f"{name}generations", "Generations by outcome", ["outcome"], registry=registry)
        self.refused = Counter(f"{name}refused", "Requests that found the queue full", registry=registry)
        self.waiting = Gauge(f"{name}waiting", "Requests that wait", registry=registry)
        self.loaded = Gauge(f"{name}loaded_bytes", "Weights of loaded models", registry=registry)
        self.waited = Histogram(
            f"{name}waited_seconds", "From a request to its turn", buckets=SECONDS, registry=registry
        )
        self.seconds = Histogram(
            f"{name}generation_seconds", "Of a generation, loading included", buckets=SECONDS, registry=registry
        )
