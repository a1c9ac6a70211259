"""What was trained, as diffusers loads it: LoRA by `load_lora_weights`, a whole pipeline by `from_pretrained`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpo_bench.policies.adapters import Adapter, lora_config
from ddpo_bench.policies.loading import import_pipeline
from ddpo_bench.policies.pipeline_folder import Layout, read_files
from ddpo_bench.policies.stored_weights import read_json, variant_of

KOHYA = "kohya.safetensors"


def save_lora(layout: Layout, adapter: Adapter, trained: Mapping[str, Tensor], folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` with its rank and alpha; of a UNet, `kohya.safetensors` too.

    Args:
        layout: of the pipeline, of which nothing is loaded.
        trained: the LoRA matrices by their names in the network, whole.
    """
    part = layout.trained
    layers = {name.replace(".default.", "."): tensor.contiguous() for name, tensor in trained.items()}
    settings: dict[str, Any] = lora_config(adapter).to_dict()
    settings["target_modules"] = sorted(adapter.target_modules)
    pipeline: Any = import_pipeline(layout.pipeline)
    pipeline.save_lora_weights(
        str(folder), **{f"{part}_lora_layers": layers, f"{part}_lora_adapter_metadata": settings}
    )
    if part == "unet":
        save_kohya(layers, adapter, folder / KOHYA)


def save_kohya(layers: Mapping[str, Tensor], adapter: Adapter, path: Path) -> None:
    """Write LoRA of a UNet under kohya's names, which ComfyUI and others read; diffusers converts no others."""
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors.torch import save_file

    converted = convert_state_dict_to_kohya({f"unet.{name}": tensor for name, tensor in layers.items()})
    for name, tensor in converted.items():
        if name.endswith(".alpha"):
            tensor.fill_(adapter.alpha or adapter.rank)  # which the conversion does not know
    save_file(converted, path)


def save_pipeline(
    layout: Layout, source: Path, wanted: str | None, trained: Mapping[str, Tensor], folder: Path
) -> None:
    """Copy a pipeline's folder, with the trained weights in their place.

    Args:
        layout: of the folder.
        source: the folder from which the policy was loaded, with `wanted` as the variant of its weights.
        trained: the weights of the trained network by name, whole.
    """
    import diffusers

    for path in read_files(source, layout):
        if path.parent.name != layout.trained:
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    variant = variant_of(source, layout.networks, wanted)
    network = getattr(diffusers, layout.parts[layout.trained][0]).from_pretrained(
        source / layout.trained, variant=variant, local_files_only=True, use_safetensors=True
    )
    network.load_state_dict({**network.state_dict(), **trained}, assign=True)
    network.save_pretrained(folder / layout.trained, variant=variant)
    leave_out_absent_parts(folder, layout)


def leave_out_absent_parts(folder: Path, layout: Layout) -> None:
    """Say in a pipeline's index that it has only the parts that a policy has, so not a safety checker."""
    index = read_json(folder / "model_index.json")
    for part, value in index.items():
        if isinstance(value, list) and part not in (*layout.parts, "scheduler"):
            index[part] = [None, None]
    if "requires_safety_checker" in index:
        index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
