"""The provenance of a run: its machine, versions, commit and inputs."""

from __future__ import annotations

import math
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ddpo_bench import processes
from ddpo_bench.config import Choice, RunConfig
from ddpo_bench.protocols import Policy, Sampler
from ddpo_bench.quantity import Quantity
from ddpo_bench.samplers.scheduler_classes import class_name
from ddpo_bench.training.gpu_share import gpu_share
from ddpo_bench.training.run_identity import origins


def provenance(config: RunConfig, policy: Policy, sampler: Sampler) -> dict[str, Any]:
    """The content of provenance.json once a run has started."""
    on_gpu = policy.device.type == "cuda"
    return {
        "ddpo_bench": installed_version("ddpo-bench"),
        "torch": torch.__version__,
        "diffusers": installed_version("diffusers"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": torch.cuda.get_device_name(policy.device) if on_gpu else processor_name(),
        "model": policy.origin(),
        "precision": str(policy.resolved_precision).removeprefix("torch."),
        "schedule": f"{class_name(policy.scheduler_config)} of the model, sampled by {config.sampler.name}",
        "noisy_steps": len(sampler.noisy_steps),
        "gpu_share": gpu_share(),
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
        "git_commit": git_commit(),
        "quantities": quantities(config, math.prod(policy.latent_shape)),
        **origins(config),
    }


def quantities(config: RunConfig, dimensions: int) -> dict[str, dict[str, float]]:
    """Every quantity of divergence in the configuration, by its key, in both units."""
    return {
        f"{choice.kind}.{key}": {"nats": value.nats(dimensions), "mean_units": value.mean_units(dimensions)}
        for choice in vars(config).values()
        if isinstance(choice, Choice)
        for key, value in choice.options.items()
        if isinstance(value, Quantity)
    }


def installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with "+changes" if it is modified; None outside one.

    Changes in results/ do not count, because runs make them.
    """
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
