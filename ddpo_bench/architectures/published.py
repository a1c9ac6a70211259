"""The published configurations of public text-to-image models, as their repositories' config.json files have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAMES = ("sd15", "sd21", "sdxl", "sd35m", "flux-dev")


class UnknownArchitecture(ValueError):
    """No architecture has this name; the message gives the nearest name and all that exist."""


@dataclass(frozen=True)
class Architecture:
    """A model's networks by their configurations.

    Attributes:
        name: one of NAMES.
        model: the model's name for people.
        hub: its names on the hub.
        tokens: length of the text embeddings that the network is given.
        parts: configurations by part, the denoising network first; each has its class as `_class_name`.
    """

    name: str
    model: str
    hub: tuple[str, ...]
    tokens: int
    parts: dict[str, dict[str, Any]]

    @property
    def network(self) -> str:
        """The part that denoises."""
        return next(iter(self.parts))

    @property
    def network_config(self) -> dict[str, Any]:
        return self.parts[self.network]

    @property
    def text_encoders(self) -> list[str]:
        return [part for part in self.parts if part.startswith("text_encoder")]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W at the resolution that the model was trained for."""
        vae = self.parts["vae"]
        side = vae["sample_size"] // 2 ** (len(vae["block_out_channels"]) - 1)
        return vae["latent_channels"], side, side

    @property
    def text_width(self) -> int:
        """Width of the text embeddings that the network is given."""
        config = self.network_config
        return int(config.get("joint_attention_dim") or config["cross_attention_dim"])

    @property
    def pooled_width(self) -> int:
        """Width of the pooled text embedding that the network is given; 0 where it is given none."""
        config = self.network_config
        if config.get("addition_embed_type") == "text_time":
            return int(self.parts["text_encoder_2"]["projection_dim"])
        return int(config.get("pooled_projection_dim") or 0)

    @property
    def takes_guidance(self) -> bool:
        """Whether the network is distilled and takes the guidance scale as an input, in place of a second pass."""
        return bool(self.network_config.get("guidance_embeds"))


@cache
def architecture(name: str) -> Architecture:
    """A published architecture by its name.

    Raises:
        UnknownArchitecture: naming those that exist.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownArchitecture(f"unknown architecture {name!r}.{hint} Known: {', '.join(NAMES)}.")
    read = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Architecture(name, read["model"], tuple(read["hub"]), read["tokens"], read["parts"])


def of_hub_model(model: str) -> Architecture | None:
    """The architecture of a model by its name on the hub; None where it is not a known one."""
    return next((known for known in map(architecture, NAMES) if model in known.hub), None)
