"""What a finished run has computed, and how fast a matrix product is here as the run would have computed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from ddpo_bench.config import ConfigError, RunConfig, run_config
from ddpo_bench.policies.precision import tf32_where
from ddpo_bench.preflight.flops import run_flops
from ddpo_bench.throughput.peak import matrix_product_peak
from ddpo_bench.training.provenance import processor_name


def computed(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> tuple[int, float | None] | None:
    """The FLOPs of a finished run, and the FLOP/s of a matrix product where the run's processor or GPU is here.

    Args:
        config, provenance: config.yaml and provenance.json.
    Returns:
        None where the run cannot be counted, as by `run_flops`, or this version does not know its configuration.
    """
    try:
        known = run_config(config, "config.yaml")
    except ConfigError:
        return None
    flops = run_flops(replace(known, gradient_checkpointing=False))  # utilisation does not count what is done twice
    return None if flops is None else (flops, peak_of(known, provenance))


def peak_of(config: RunConfig, provenance: Mapping[str, Any]) -> float | None:
    """FLOP/s of matrix products in the precision of a run, one on each of its processes with their threads.

    Returns:
        None where it ran elsewhere.
    """
    device = device_of(provenance.get("processor"))
    dtype = getattr(torch, str(provenance.get("precision")), None)
    if device is None or not isinstance(dtype, torch.dtype):
        return None
    threads, processes = int(provenance.get("threads", 1)), int(provenance.get("processes", 1))
    return processes * measured_peak(device, dtype, threads, config.tf32)


def device_of(processor: str | None) -> torch.device | None:
    """The device here that has this name."""
    if torch.cuda.is_available() and processor == torch.cuda.get_device_name():
        return torch.device("cuda")
    return torch.device("cpu") if processor == processor_name() else None


@cache
def measured_peak(device: torch.device, dtype: torch.dtype, threads: int, tf32: bool) -> float:
    """FLOP/s, measured once."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tf32_where(tf32):
            return matrix_product_peak(device, dtype).flops
    finally:
        torch.set_num_threads(before)
