"""A pipeline's folder looked at from outside: whether it is whole and of a family's layout.  Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.policies.stored_weights import NotSafetensors, read_json, shapes, weight_files

SCHEDULER = "scheduler/scheduler_config.json"
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
READ = ("json", "txt", "safetensors")  # endings of settings, vocabularies and weights


@dataclass(frozen=True)
class Layout:
    """What a family's pipelines are made of.

    Attributes:
        pipeline: the class in diffusers.
        meant: which models those are, for people.
        parts: the classes that each part may have, the trained network first; all but tokenizers have weights.
    """

    pipeline: str
    meant: str
    parts: Mapping[str, tuple[str, ...]]

    @property
    def trained(self) -> str:
        return next(iter(self.parts))

    @property
    def networks(self) -> list[str]:
        return [part for part in self.parts if not part.startswith("tokenizer")]

    @property
    def tokenizers(self) -> list[str]:
        return [part for part in self.parts if part.startswith("tokenizer")]


def model_path(model: str) -> Path:
    """Where a model's folder would be: the embedded one, or a path with ~ for the home folder."""
    if model == "embedded":
        return MODEL_FOLDER
    try:
        return Path(model).expanduser()
    except RuntimeError:  # there is no such user
        return Path(model)


def is_hub_name(model: str) -> bool:
    return model.count("/") == 1 and not os.path.isabs(model) and model[0] not in ".~" and all(model.split("/"))


def local_folder(model: str, layout: Layout) -> Path | None:
    """Where a model is on this machine; None for a hub model that would have to be downloaded."""
    if model_path(model).is_dir():
        return model_path(model)
    return cached_folder(model, layout) if is_hub_name(model) else None


def cached_folder(model: str, layout: Layout) -> Path | None:
    """The local copy of a hub model, where its largest part has been downloaded; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    names = (f"{layout.trained}/config.json", "model_index.json")
    found = [try_to_load_from_cache(model, name) for name in names]
    folders = {Path(name).parents[depth] for name, depth in zip(found, (1, 0), strict=True) if isinstance(name, str)}
    folder = folders.pop() if len(folders) == 1 else None
    return folder if folder and not list(missing(folder, layout)) else None


def place_mistakes(model: str, layout: Layout) -> list[str]:
    """What is wrong with a model that is neither a folder nor on the hub."""
    folder = model_path(model)
    if folder.is_dir() or (not folder.exists() and is_hub_name(model)):
        return []
    if folder.is_file():
        return [f"{model} is a file. {from_file(layout)}"]
    return [f"{model!r} is neither a folder nor a hub name like 'owner/name'. Write embedded, or mend the path."]


def from_file(layout: Layout) -> str:
    return f"Make a folder of it: {layout.pipeline}.from_single_file(FILE).save_pretrained(FOLDER)."


def read_files(folder: Path, layout: Layout) -> list[Path]:
    """The files that decide what a model computes: the settings and weights of its parts."""
    parts = [*layout.parts, "scheduler"]
    return [
        *folder.glob("model_index.json"),
        *(file for part in parts for ending in READ for file in folder.glob(f"{part}/*.{ending}")),
    ]


def layout_mistakes(folder: Path, layout: Layout) -> list[str]:
    """What keeps a folder from being a whole pipeline of this layout, each with its remedy.

    Raises:
        NotReadable: for a JSON file that holds no mapping.
    """
    if not (folder / "model_index.json").is_file():
        return [f"{folder} holds no model_index.json{instead_of_a_pipeline(folder, layout)}"]
    return list(class_mistakes(folder, layout)) or list(missing(folder, layout))


def instead_of_a_pipeline(folder: Path, layout: Layout) -> str:
    """What a folder without an index is, as far as its files tell."""
    names = {path.name for path in folder.iterdir()}
    if names & {"pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin", "adapter_config.json"}:
        return ": it holds LoRA weights alone. Fuse them with their model (fuse_lora) and save that pipeline."
    if "config.json" in names:
        kind = read_json(folder / "config.json").get("_class_name", "model")
        return f": it holds a {kind} alone. Give the folder of a whole {layout.pipeline}."
    if any(name.endswith((".safetensors", ".ckpt")) for name in names):
        return f" but weights in one file. {from_file(layout)}"
    return f". Give a folder that {layout.pipeline} saved."


def class_mistakes(folder: Path, layout: Layout) -> Iterator[str]:
    """A pipeline of another kind, or parts of other classes."""
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind != layout.pipeline:
        yield (
            f"{folder} is a {kind or 'pipeline without a class'}, and only a {layout.pipeline} can be trained: "
            f"{layout.meant}. Give such a folder."
        )
        return
    wrong = []
    for part, classes in layout.parts.items():
        found = index.get(part)
        name = found[1] if isinstance(found, list) and len(found) == 2 else found
        if name not in classes:
            wrong.append(f"{part} is {name or 'missing'}, not {classes[0]}")
    if not isinstance(index.get("scheduler"), list):
        wrong.append("scheduler is missing")
    if wrong:
        yield f"{folder}/model_index.json: {'; '.join(wrong)}. Give a folder that {layout.pipeline} saved."


def missing(folder: Path, layout: Layout) -> Iterator[str]:
    configs = [*(f"{part}/config.json" for part in layout.networks), SCHEDULER]
    lacking = [name for name in configs if not (folder / name).is_file()]
    for part in layout.networks:
        if not list(weight_files(folder, part)):
            pickles = sorted((folder / part).glob("*.bin"))
            if pickles:
                yield (
                    f"{pickles[0]} is a pickle, which may run code, and is never loaded. Save it as safetensors: "
                    f"{layout.pipeline}.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
                )
            else:
                lacking.append(f"{part}'s weights")
    for part in layout.tokenizers:
        if not any(all((folder / part / name).is_file() for name in names) for names in TOKENIZERS):
            lacking.append(f"{part}/tokenizer.json")
    if lacking:
        yield f"{folder} lacks {', '.join(lacking)}. Save the whole pipeline there again."


def damaged(folder: Path, layout: Layout) -> Iterator[str]:
    """Weights that are cut short or are no safetensors."""
    for part in layout.networks:
        for path in weight_files(folder, part):
            try:
                shapes(path)
            except NotSafetensors as error:
                yield f"{path} {error}. Copy it again."


def sides(sample_size: Any) -> tuple[int, int] | None:
    """Height and width of latents from a network's configuration, which may give one number for both."""
    both = [sample_size] * 2 if isinstance(sample_size, int) else sample_size
    if not isinstance(both, (list, tuple)) or len(both) != 2:
        return None
    height, width = both
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in both)
    return (height, width) if whole else None


def latent_shape(network_config: Mapping[str, Any]) -> tuple[int, int, int]:
    """C, H, W of a sound folder's latents."""
    both = sides(network_config["sample_size"])
    assert both is not None
    return network_config["in_channels"], *both
