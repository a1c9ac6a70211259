"""Whether a folder's networks can be made of their configurations, and whether the stored weights are theirs.

They are made on torch's meta device, which computes and allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ddpo_bench.policies.model_folder import PARTS
from ddpo_bench.policies.stored_weights import read_json, shapes, weight_files


def architecture_mistakes(folder: Path) -> list[str]:
    """What is wrong with the networks of a folder that is otherwise sound."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    makers: dict[str, Callable[[dict[str, Any]], torch.nn.Module]] = {
        "unet": UNet2DConditionModel.from_config,
        "vae": AutoencoderKL.from_config,
        "text_encoder": lambda config: CLIPTextModel(CLIPTextConfig.from_dict(config)),
    }
    made = {}
    for part, make in makers.items():
        path = folder / part / "config.json"
        try:
            with torch.device("meta"):
                made[part] = make(read_json(path))
        except Exception as error:  # the constructors check little and raise anything
            reason = (str(error).strip() or "no message").splitlines()[0]
            return [f"{path}: no {PARTS[part][0]} can be made of it: {type(error).__name__}: {reason.rstrip('.')}."]
    expected = {name: list(weight.shape) for name, weight in made["unet"].state_dict().items()}
    stored = {name: shape for path in weight_files(folder, "unet") for name, shape in shapes(path).items()}
    wrong = [name for name, shape in expected.items() if stored.get(name) != shape]
    if not wrong:
        return []
    first = f"{wrong[0]} is {stored.get(wrong[0], 'missing')}, not {expected[wrong[0]]}"
    return [f"{folder}/unet: {len(wrong)} of {len(expected)} weights do not fit config.json: {first}. Save it again."]
