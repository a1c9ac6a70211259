"""Bytes that a run needs in memory and on disk, as far as they are counted without loading its model.

Torch itself comes on top, and what lives for the length of one operation only; both are measured (`preflight.probe`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Algorithm, Footprint, Policy

FP32 = 4


@dataclass(frozen=True)
class Needs:
    """Bytes of one run.

    Attributes:
        trained: how many numbers are trained.
        weights: of all networks, the pretrained copy among them.
        state: of the algorithm: its optimiser, and rollouts that it keeps.
        rollout: of an epoch.
        activations: that learning from a micro-batch keeps for its backward pass; 0 where that is not known.
        checkpoint: a file, of which one is left when the run is done.
    """

    trained: int
    weights: int
    gradients: int
    state: int
    rollout: int
    activations: int
    checkpoint: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.state + self.rollout + self.activations


def needs(config: RunConfig) -> Needs | None:
    """What a run needs; None where its model is not here yet, or is of a kind that cannot be counted."""
    policy: Policy = config.policy.build()
    algorithm: Algorithm = config.algorithm.build()
    footprint = policy.footprint(device_here())
    if footprint is None:
        return None
    state = algorithm.state_bytes(config, footprint) + footprint.trained * FP32 * bool(config.ema)
    return Needs(
        trained=footprint.trained,
        weights=footprint.weights,
        gradients=footprint.trained * FP32 * algorithm.learns,
        state=state,
        rollout=rollout_bytes(config, algorithm, footprint),
        activations=activation_bytes(config, policy) * algorithm.learns,
        checkpoint=footprint.trained * FP32 + state,
    )


def rollout_bytes(config: RunConfig, algorithm: Algorithm, footprint: Footprint) -> int:
    """Latents of every state and the conditioning; of x_0 alone where no more is needed."""
    tensors = 1 if algorithm.needs == "x_0" else int(config.sampler.options.get("steps", 0)) + 1
    return config.samples_per_epoch * (tensors * footprint.latents + footprint.conditioning)


def activation_bytes(config: RunConfig, policy: Policy) -> int:
    """Of a micro-batch; of one sample where the machine chooses the micro-batch by what is left."""
    cost = policy.pass_cost(device_here(), config.gradient_checkpointing)
    samples = 1 if config.micro_batch == "auto" else min(config.micro_batch, config.samples_per_epoch)
    return cost.activations * samples if cost else 0


def memory_here() -> tuple[int, str]:
    """Bytes that runs have to share, and whose."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, torch.cuda.get_device_name(0)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"


def device_here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
