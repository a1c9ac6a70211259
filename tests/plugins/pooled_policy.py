"""A small flow-matching network as a policy: conditioned on one pooled vector a prompt, and on nothing of diffusers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ddpo_bench.copies import Copies
from ddpo_bench.options import option
from ddpo_bench.protocols import Conditioning, Policy, SeenPrompt
from ddpo_bench.registry import register

WORDS, LATENT = 8, (3, 4, 4)
SIZE = 3 * 4 * 4


class Velocity(nn.Module):
    """v(x_t, t, prompt), [B, 3, 4, 4]."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SIZE + WORDS + 1, width), nn.SiLU(), nn.Linear(width, SIZE))

    def forward(self, x_t: Tensor, timesteps: Tensor, pooled: Tensor) -> Tensor:
        place = timesteps[:, None] / 1000
        return self.layers(torch.cat([x_t.flatten(1), pooled, place], 1)).view_as(x_t)


@register("policy", "pooled")
@dataclass
class Pooled(Policy):
    """A small flow-matching network that reads a prompt as a bag of words."""

    width: int = option(32, "width of the hidden layer", minimum=1, maximum=4096)

    guidance_scale = 1.0
    latent_shape = LATENT
    resolved_precision = torch.float32
    scheduler_config: ClassVar[dict[str, Any]] = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "pipeline_sigmas": True,  # evenly spaced from 1 to 0
    }

    def stored_scheduler_config(self) -> dict[str, Any]:
        return self.scheduler_config

    def start(self, device: torch.device, seed: int) -> None:
        self.device = device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the pretrained weights, the same for every run
            self.network = Velocity(self.width).to(device)
        self.copies = Copies(self.parameters())
        self.keep("pretrained")

    def seen(self, prompt: str) -> SeenPrompt:
        return SeenPrompt(prompt, 0)

    def encode(self, prompts: list[str]) -> Conditioning:
        """Counts of the prompt's words, each in one of `WORDS` places."""
        pooled = torch.zeros(len(prompts), WORDS)
        for row, prompt in enumerate(prompts):
            for word in prompt.split():
                pooled[row, zlib.crc32(word.encode()) % WORDS] += 1
        return Conditioning({}, pooled.to(self.device))

    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return self.network(x_t, timesteps, conditioning.pooled)

    def decode(self, latents: Tensor) -> Tensor:
        """[N, 3, 8, 8]."""
        return nn.functional.interpolate(latents.sigmoid(), scale_factor=2)

    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)
