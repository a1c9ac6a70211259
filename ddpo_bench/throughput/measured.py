"""What a row of the table says: seconds of an image by phase, and what follows from them and from counted FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ddpo_bench.architectures.flops import PassFlops
from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Policy
from ddpo_bench.throughput.settings import Setting

PHASES = ("network", "law", "decoding", "reward", "learning")


@dataclass(frozen=True)
class Round:
    """Seconds by phase of one round, and the peak memory in bytes."""

    seconds: dict[str, float]
    peak: int


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        setting: what was measured.
        precision: of the network, as it was resolved.
        flops: of one transition, with guidance.
        peak_flops: FLOP/s of the fastest matrix product in this precision.
        transitions: that are learned from for each image.
        seconds: an image, by phase; without what was not measured; empty where memory did not suffice.
        memory: bytes in use at the peak.
    """

    setting: Setting
    precision: str
    flops: PassFlops
    peak_flops: float
    transitions: int
    seconds: dict[str, float]
    memory: int | None

    @property
    def sampling(self) -> float:
        """Seconds an image, without decoding."""
        return self.seconds["network"] + self.seconds["law"]

    @property
    def sampling_utilisation(self) -> float:
        """Model FLOPs of sampling as a share of the peak."""
        return self.flops.forward * self.setting.steps / self.sampling / self.peak_flops

    @property
    def learning_utilisation(self) -> float | None:
        """Model FLOPs of learning as a share of the peak; without what checkpointing computes again."""
        if "learning" not in self.seconds:
            return None
        work = (self.flops.forward + self.flops.backward) * self.transitions
        return work / self.seconds["learning"] / self.peak_flops

    @property
    def is_whole(self) -> bool:
        """Whether all that the algorithm does was measured."""
        return "learning" in self.seconds or not self.setting.config.algorithm.build().learns

    @property
    def images_per_second(self) -> float | None:
        """Of all phases together."""
        return 1 / sum(self.seconds.values()) if self.seconds and self.is_whole else None


def transitions_of(setting: Setting) -> int:
    """That an algorithm learns from for each image in one pass over a rollout."""
    fraction = setting.config.algorithm.options.get("timestep_fraction", 1.0)
    return max(1, int(setting.steps * fraction + 1e-9))


def without_memory(setting: Setting) -> Measured:
    """The row of a setting whose network did not fit."""
    precision = setting.config.policy.options.get("precision", "")
    return Measured(setting, precision, PassFlops(0, 0), 0.0, 0, {}, None)


def precision_of(policy: Policy, config: RunConfig) -> str:
    if policy.resolved_precision is torch.bfloat16:
        return "bf16"
    return "tf32" if config.tf32 and policy.device.type == "cuda" else "fp32"
