"""A run's floating-point operations, counted from its configuration, and the time they take at a machine's speed."""

from __future__ import annotations

import time
from functools import cache

import torch

from ddpo_bench.config import RunConfig
from ddpo_bench.policies.precision import resolve_precision
from ddpo_bench.preflight.memory import device_here
from ddpo_bench.protocols import Algorithm, Policy
from ddpo_bench.throughput.peak import matrix_product_peak
from ddpo_bench.training.evaluation import DIVERSITY_PROMPTS, DIVERSITY_SAMPLES
from ddpo_bench.training.sampling import REFERENCE_SAMPLES

UTILISATION = {"cpu": 0.5, "cuda": 0.4}  # share of a matrix product's speed that a run is taken to reach


def run_flops(config: RunConfig) -> int | None:
    """FLOPs of the network and the decoder in a whole run: sampling, learning and evaluations.

    What measures an epoch (at most a fortieth), rewards and text encoders are left out.

    Returns:
        None where the model, its sampler or the algorithm's learning cannot be counted.
    """
    policy: Policy = config.policy.build()
    algorithm: Algorithm = config.algorithm.build()
    learning, steps = algorithm.network_passes(config), int(config.sampler.options.get("steps", 0))
    cost = policy.pass_cost(device_here(), config.gradient_checkpointing)
    if learning is None or cost is None or not steps:
        return None
    count = evaluations(config)
    images = config.epochs * config.samples_per_epoch + count * evaluated_images(config)
    compared = (count - 1) * min(REFERENCE_SAMPLES, config.evaluation.samples)
    forward, backward = learning
    forward += steps * (images + compared) + backward * config.gradient_checkpointing
    return forward * cost.forward + backward * cost.backward + images * cost.decoding


def evaluations(config: RunConfig) -> int:
    """Before the first epoch, after every so many, and after the last."""
    every = config.evaluation.every or config.epochs
    return 1 + -(-config.epochs // every)


def evaluated_images(config: RunConfig) -> int:
    """What an evaluation samples: images to judge, and others of their prompts for the diversity."""
    samples = config.evaluation.samples
    return samples + min(DIVERSITY_PROMPTS, samples) * (DIVERSITY_SAMPLES - 1)


def counted_seconds(config: RunConfig) -> tuple[float, str] | None:
    """The time of a run by its FLOPs, which its processes share, and how that is known."""
    flops = run_flops(config)
    if flops is None:
        return None
    device = device_here()
    precision = resolve_precision(config.policy.options.get("precision", "auto"), device)
    share = UTILISATION[device.type]
    fastest = matrix_product(device, precision)
    how = f"by counted FLOPs at {100 * share:.0f} % of a matrix product's {fastest / 1e9:,.0f} GFLOP/s here"
    return flops / (share * fastest * config.resources.processes), how


@cache
def matrix_product(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a matrix product; with one thread where there is no GPU, as every worker has."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    return matrix_product_peak(device, dtype).flops


def now(device: torch.device) -> float:
    """When the device has done what it was given: CPU seconds where there is no GPU, which other processes use too."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
