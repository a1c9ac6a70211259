"""A pipeline's sizes, from its files: how many weights it holds, and of what shapes.  Nothing is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ddpo_bench.policies.stored_weights import WEIGHTS, read_json, shapes, weight_files


@dataclass(frozen=True)
class Model:
    """A pipeline's size.

    Attributes:
        unet: shapes of the UNet's weights by name.
        frozen: numbers in the weights of the other networks.
        unet_config, vae_config, text_config: of the UNet, the autoencoder and the text encoder.
    """

    folder: Path
    unet: dict[str, list[int]]
    frozen: int
    unet_config: dict[str, Any]
    vae_config: dict[str, Any]
    text_config: dict[str, Any]

    @property
    def unet_numbers(self) -> int:
        return sum(map(math.prod, self.unet.values()))


@cache
def read_model(folder: Path) -> Model:
    """A sound folder's sizes."""
    counted = {part: {k: v for path in weight_files(folder, part) for k, v in shapes(path).items()} for part in WEIGHTS}
    frozen = sum(math.prod(shape) for part in ("vae", "text_encoder") for shape in counted[part].values())
    configs = [read_json(folder / part / "config.json") for part in WEIGHTS]
    return Model(folder, counted["unet"], frozen, *configs)
