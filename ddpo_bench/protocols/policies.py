"""What a policy must offer, and what it says of itself before and while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ddpo_bench.copies import Copies

CopyName = Literal["pretrained", "old", "ema"]


@dataclass
class Conditioning:
    """What a policy is conditioned on, one entry a sample.

    Attributes:
        tensors: [B, ...] each, by names that only the policy that made them reads.
        pooled: [B, D], float32; for critics, which read no more of a prompt than this.
    """

    tensors: dict[str, Tensor]
    pooled: Tensor

    def __getitem__(self, index: Tensor | slice) -> Conditioning:
        return Conditioning({name: tensor[index] for name, tensor in self.tensors.items()}, self.pooled[index])

    def __len__(self) -> int:
        return len(self.pooled)

    def followed_by(self, other: Conditioning) -> Conditioning:
        """Both batches as one."""
        tensors = {name: torch.cat([tensor, other.tensors[name]]) for name, tensor in self.tensors.items()}
        return Conditioning(tensors, torch.cat([self.pooled, other.pooled]))


class SeenPrompt(NamedTuple):
    """What a policy reads of a prompt.

    Attributes:
        text: equal for two prompts that are the same to the policy; the prompt itself where it is short enough.
        tokens_cut: how many did not fit; 0 for most prompts.
    """

    text: str
    tokens_cut: int


@dataclass(frozen=True)
class Footprint:
    """What a policy needs of memory, in bytes, as far as it is known before the model is loaded.

    Attributes:
        trained: how many numbers are trained, fp32 each.
        weights: of all networks, trained and frozen, the pretrained copy among them.
        latents, conditioning: of one sample.
    """

    trained: int
    weights: int
    latents: int
    conditioning: int


@dataclass(frozen=True)
class PassCost:
    """One transition's pass through a policy's network, with guidance, and its image; as counted from configurations.

    Attributes:
        forward, backward: FLOPs, a multiplication and an addition being two; backward without what is computed again.
        decoding: FLOPs of an image.
        activations: bytes kept from a forward pass for its backward pass.
    """

    forward: int
    backward: int
    decoding: int
    activations: int


class Policy(Protocol):
    """A diffusion model with its conditioning and guidance.

    A class that has this one as its base inherits what is said of a model about which nothing is known before `start`.
    """

    device: torch.device
    guidance_scale: float
    resolved_precision: torch.dtype
    copies: Copies  # of the trained tensors, made by `start`

    def mistakes(self) -> list[str]:
        """What would keep `start` from loading the model, each line beginning with the key to change; loads nothing."""
        return []

    def architecture_mistakes(self) -> list[str]:
        """What is wrong with the networks of a model without other mistakes; may import what takes seconds."""
        return []

    def footprint(self, device: torch.device) -> Footprint | None:
        """What the model needs on a device; None where that is not known."""
        return None

    def pass_cost(self, device: torch.device, checkpointing: bool) -> PassCost | None:
        """What a pass costs on a device, before `start`; None where that is not known.

        Args:
            checkpointing: whether a backward pass computes activations again instead of keeping them.
        """
        return None

    def too_long(self, prompts: Iterable[str]) -> list[str]:
        """Those prompts that `encode` would not read to their end; also before `start`."""
        return []

    def stored_scheduler_config(self) -> Mapping[str, Any] | None:
        """As `scheduler_config`, before `start`; None where the model is not on this machine yet."""

    def start(self, device: torch.device, seed: int) -> None:
        """Load the model and make it trainable; the other members exist from then on."""

    def prepare_network(self, compile_blocks: bool, gradient_checkpointing: bool) -> None:
        """Make the trained network's passes cheaper; called once after `start`.  A policy may ignore it.

        Args:
            compile_blocks: whether the blocks that the network repeats are compiled by torch.compile.  Passes with and
                without gradients must then run the same code, or a ratio is not 1 before the first update.
            gradient_checkpointing: whether a backward pass computes activations again instead of keeping them.
        """

    def shard(self) -> None:
        """Shard the weights over the processes of the run (FSDP2); called once, after `prepare_network`.

        `parameters` are DTensors from then on.  State dicts stay whole tensors, by the same names.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot shard its weights: run it without FSDP.")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W."""

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """Of the pretrained model's noise schedule."""

    def seen(self, prompt: str) -> SeenPrompt:
        """The part of a prompt that `encode` reads."""

    def encode(self, prompts: list[str]) -> Conditioning: ...
    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Model output as the network gives it: [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], float32 in [0, 1]; differentiable in the latents."""

    def copy(self, name: CopyName) -> AbstractContextManager[None]:
        """Context in which `predict` is a copy of the policy, without gradients.

        Args:
            name: "pretrained" is the policy before any update, which a policy keeps itself in `start`; "old", a lagged
                copy, and "ema", an average, are what an algorithm makes of them by `keep` and `blend`.
        """
        return self.copies.in_place(name)

    def keep(self, name: CopyName) -> None:
        """Make, or make anew, a copy of the weights as they are."""
        self.copies.keep(name)

    def blend(self, name: CopyName, decay: float) -> None:
        """copy = decay * copy + (1 - decay) * weights."""
        self.copies.blend(name, decay)

    def save_trained(self, trained: Mapping[str, Tensor], folder: Path) -> None:
        """Write what was trained so that others load it; also before `start`.

        Args:
            trained: what `state_dict` gave, or an average of it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be exported: it has no method `save_trained`.")

    def origin(self) -> dict[str, Any]:
        """Where a started policy's model comes from, and notes on it, for the provenance of a run."""
        return {}

    def parameters(self) -> list[torch.nn.Parameter]:
        """What learning may change."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
