"""What was trained, as diffusers loads it: LoRA by `load_lora_weights`, a whole pipeline by `from_pretrained`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddpo_bench.policies.pipeline_folder import Layout, read_files
from ddpo_bench.policies.stored_weights import variant_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def save_lora(pipeline: DiffusionPipeline, trained: str, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` with its rank and alpha.

    Args:
        trained: the part that has the LoRA.
        state: the trained tensors by name, whole.
    """
    from peft import get_peft_model_state_dict

    network: Any = getattr(pipeline, trained)
    layers = get_peft_model_state_dict(network, state_dict=dict(state))
    settings = network.peft_config["default"].to_dict()
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.save_lora_weights(
        str(folder), **{f"{trained}_lora_layers": layers, f"{trained}_lora_adapter_metadata": settings}
    )


def save_pipeline(network: Any, layout: Layout, source: Path, trained: Mapping[str, Tensor], folder: Path) -> None:
    """Copy a pipeline's folder, with the trained weights in their place.

    Args:
        network: the trained part.
        source: the folder from which it was loaded.
        trained: its trained weights by name, whole.
    """
    for path in read_files(source, layout):
        if path.parent.name != layout.trained:
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    with torch.device("meta"):
        whole = type(network).from_config(network.config)  # a sharded network cannot be saved itself
    whole.load_state_dict({**network.state_dict(), **trained}, assign=True)
    whole.save_pretrained(folder / layout.trained, variant=variant_of(source, layout.networks))
