"""What a folder is that a family cannot train, and what to do about it: mostly another family's, or another task's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ddpo_bench import registry
from ddpo_bench.policies.pipeline_folder import Layout, class_in, from_file, missing
from ddpo_bench.policies.stored_weights import read_json

OTHER_TASKS = {  # by a part of the class's name
    "Inpaint": "an inpainting pipeline",
    "Fill": "an inpainting pipeline",
    "ControlNet": "a ControlNet pipeline",
    "Control": "a ControlNet pipeline",
    "Img2Img": "an image-to-image pipeline",
    "InstructPix2Pix": "an image-to-image pipeline",
    "Edit": "an image-to-image pipeline",
    "Kontext": "an image-to-image pipeline",
    "Upscale": "an upscaling pipeline",
    "Video": "a video pipeline",
}


def layout_mistakes(folder: Path, layout: Layout, variant: str | None) -> list[str]:
    """What keeps a folder from being a whole pipeline of this layout, each with its remedy.

    Raises:
        NotReadable: for a JSON file that holds no mapping.
    """
    if not (folder / "model_index.json").is_file():
        return [f"{folder} holds no model_index.json{instead_of_a_pipeline(folder, layout)}"]
    return list(class_mistakes(folder, layout)) or list(missing(folder, layout.of(folder), variant))


def instead_of_a_pipeline(folder: Path, layout: Layout) -> str:
    """What a folder without an index is, as far as its files tell."""
    names = {path.name for path in folder.iterdir()}
    if names & {"pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin", "adapter_config.json"}:
        return ": it holds LoRA weights alone. Give them as policy.adapter.from, and their base model here."
    if "config.json" in names:
        kind = read_json(folder / "config.json").get("_class_name", "model")
        return f": it holds a {kind} alone. Give the folder of a whole {layout.pipeline}."
    if any(name.endswith((".safetensors", ".ckpt")) for name in names):
        return f" but weights in one file. {from_file(layout)}"
    return f". Give a folder that {layout.pipeline} saved."


def class_mistakes(folder: Path, layout: Layout) -> Iterator[str]:
    """A pipeline of another kind, or parts of other classes."""
    index = read_json(folder / "model_index.json")
    kind = str(index.get("_class_name", "pipeline without a class"))
    if kind != layout.pipeline:
        yield f"{folder} is a {kind}{remedy(kind, layout)}"
        return
    wrong = []
    for part, classes in layout.parts.items():
        name = class_in(index, part)
        if name not in classes and not (name is None and part in layout.optional):
            wrong.append(f"{part} is {name or 'missing'}, not {classes[0]}")
    if not isinstance(index.get("scheduler"), list):
        wrong.append("scheduler is missing")
    if wrong:
        yield f"{folder}/model_index.json: {'; '.join(wrong)}. Give a folder that {layout.pipeline} saved."


def remedy(kind: str, layout: Layout) -> str:
    """What to do with a pipeline of another class: name the family that trains it, or give another folder."""
    for name in registry.names("policy"):
        other = getattr(registry.get("policy", name), "layout", None)
        if isinstance(other, Layout) and other.pipeline == kind:
            return f", which another policy trains. Write name: {name}."
    task = next((what for part, what in OTHER_TASKS.items() if part in kind), None)
    what = f", {task}" if task else ""
    return f"{what}, and this policy trains only a {layout.pipeline}: {layout.meant}. Give such a folder."
