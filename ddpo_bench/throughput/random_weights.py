"""The policy of a published architecture with random weights, on which speed and memory do not depend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.architectures.build import build
from ddpo_bench.architectures.passes import output, random_conditioning
from ddpo_bench.architectures.published import Architecture, architecture
from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import UNCONDITIONAL, DiffusersPolicy
from ddpo_bench.policies.pipeline_folder import Layout
from ddpo_bench.protocols import Conditioning, SeenPrompt

DDIM = {  # the noise schedule of Stable Diffusion
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
NETWORK = "network"


@dataclass
class RandomWeights(DiffusersPolicy):
    """A published architecture with random weights, random text embeddings, and no text encoder."""

    model: str = option("sd15", "the architecture's name")

    layout: ClassVar[Layout] = Layout("random weights", "a published architecture", {NETWORK: (), "vae": ()})
    published: Architecture = field(init=False)

    def __post_init__(self) -> None:
        self.published = architecture(self.model)

    def load(self) -> tuple[Any, Path]:
        """The networks, the trained one in the precision of its frozen weights."""
        half = self.adapter.name == "lora" and self.resolved_precision is torch.bfloat16
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build(
                self.published, self.published.network, self.device, torch.bfloat16 if half else torch.float32
            )
            vae = build(self.published, "vae", self.device).to("cpu")  # where a loaded one is until it is used
        parts = {NETWORK: network, "vae": vae}
        pipeline = SimpleNamespace(**parts, components=parts, tokenizer=None)
        pipeline.to = lambda device: pipeline
        return pipeline, Path()

    @property
    def scheduler_config(self) -> dict[str, Any]:
        return dict(DDIM)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.published.latent_shape

    def seen(self, prompt: str) -> SeenPrompt:
        return SeenPrompt(prompt, 0)

    def embed(self, prompt: str) -> Conditioning:
        tensors = random_conditioning(self.published, 1, self.device)
        unconditional = {f"{UNCONDITIONAL}{name}": -tensor for name, tensor in tensors.items()}
        return Conditioning(tensors | (unconditional if self.guided else {}), tensors["embeddings"].mean(1))

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        return output(self.published, network, x_t, timesteps, tensors)
