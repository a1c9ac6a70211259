"""A pipeline's folder looked at from outside: whether it is whole and of a family's layout.  Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ddpo_bench.embedded import EMBEDDED
from ddpo_bench.policies.stored_weights import NotSafetensors, read_json, shapes, variants, weight_files

SCHEDULER = "scheduler/scheduler_config.json"
CLIP_TOKENIZER = ("CLIPTokenizer", "CLIPTokenizerFast")  # classes that a folder may name
T5_TOKENIZER = ("T5TokenizerFast", "T5Tokenizer")
QWEN_TOKENIZER = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
READ = ("json", "txt", "model", "jinja", "safetensors")  # endings of settings, vocabularies, templates and weights


@dataclass(frozen=True)
class Layout:
    """What a family's pipelines are made of.

    Attributes:
        pipeline: the class in diffusers.
        meant: which models those are, for people.
        parts: the classes that each part may have, the trained network first; all but tokenizers have weights.
        optional: parts that a folder may leave out, as null in its index.
        buffers: of the trained network's stored tensors those that are no weights.
        large: frozen parts of billions of weights, which are loaded in the precision of the network.
        since: the first version of diffusers whose pipeline this is.
    """

    pipeline: str
    meant: str
    parts: Mapping[str, tuple[str, ...]]
    optional: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    large: tuple[str, ...] = ()
    since: str = "0.35"

    def of(self, folder: Path) -> Layout:
        """This layout without the optional parts that a folder leaves out.

        Raises:
            NotReadable: where the folder's index cannot be read.
        """
        if not self.optional:
            return self
        index = read_json(folder / "model_index.json")
        absent = [part for part in self.optional if class_in(index, part) is None]
        return replace(self, parts={part: classes for part, classes in self.parts.items() if part not in absent})

    @property
    def trained(self) -> str:
        return next(iter(self.parts))

    @property
    def networks(self) -> list[str]:
        return [part for part in self.parts if not part.startswith("tokenizer")]

    @property
    def tokenizers(self) -> list[str]:
        return [part for part in self.parts if part.startswith("tokenizer")]


def too_old(layout: Layout) -> str | None:
    """What to do where diffusers is older than a family's pipeline; None elsewhere."""
    installed = version("diffusers")
    if numbers(installed) >= numbers(layout.since):
        return None
    return f"policy.name: {layout.pipeline} needs diffusers {layout.since}, not {installed}: pip install -U diffusers."


def numbers(release: str) -> list[int]:
    """Major and minor of a version."""
    return [int(number) for number in release.split(".")[:2]]


def class_in(index: Mapping[str, Any], part: str) -> str | None:
    """The class of a part in a pipeline's index; None where the pipeline has no such part."""
    found = index.get(part)
    name = found[1] if isinstance(found, list) and len(found) == 2 else found
    return None if name is None else str(name)


def model_path(model: str) -> Path:
    """Where a model's folder would be: an embedded one, or a path with ~ for the home folder."""
    if model in EMBEDDED:
        return EMBEDDED[model]
    try:
        return Path(model).expanduser()
    except RuntimeError:  # there is no such user
        return Path(model)


def is_hub_name(model: str) -> bool:
    return model.count("/") == 1 and not os.path.isabs(model) and model[0] not in ".~" and all(model.split("/"))


def local_folder(model: str, layout: Layout, revision: str | None, variant: str | None) -> Path | None:
    """Where a model is on this machine; None for a hub model that would have to be downloaded.

    Args:
        revision: of a hub model: a branch, a tag or a commit.
        variant: of the weights that are needed, such as fp16.
    """
    if model_path(model).is_dir():
        return model_path(model)
    return cached_folder(model, layout, revision, variant) if is_hub_name(model) else None


def cached_folder(model: str, layout: Layout, revision: str | None, variant: str | None) -> Path | None:
    """The local copy of a hub model, where its largest part has been downloaded; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    names = (f"{layout.trained}/config.json", "model_index.json")
    found = [try_to_load_from_cache(model, name, revision=revision) for name in names]
    folders = {Path(name).parents[depth] for name, depth in zip(found, (1, 0), strict=True) if isinstance(name, str)}
    folder = folders.pop() if len(folders) == 1 else None
    return folder if folder and not list(missing(folder, layout.of(folder), variant)) else None


def place_mistakes(model: str, layout: Layout) -> list[str]:
    """What is wrong with a model that is neither a folder nor on the hub."""
    folder = model_path(model)
    if folder.is_dir() or (not folder.exists() and is_hub_name(model)):
        return []
    if folder.is_file():
        return [f"{model} is a file. {from_file(layout)}"]
    pipelines = {name: read_json(own / "model_index.json")["_class_name"] for name, own in EMBEDDED.items()}
    fitting = [name for name, pipeline in pipelines.items() if pipeline == layout.pipeline]
    remedy = f"Write {fitting[0]}, or mend the path." if fitting else "Mend the path."
    return [f"{model!r} is neither a folder nor a hub name like 'owner/name'. {remedy}"]


def from_file(layout: Layout) -> str:
    return f"Make a folder of it: {layout.pipeline}.from_single_file(FILE).save_pretrained(FOLDER)."


def read_files(folder: Path, layout: Layout) -> list[Path]:
    """The files that decide what a model computes: the settings and weights of its parts."""
    parts = [*layout.parts, "scheduler"]
    return [
        *folder.glob("model_index.json"),
        *(file for part in parts for ending in READ for file in folder.glob(f"{part}/*.{ending}")),
    ]


def missing(folder: Path, layout: Layout, variant: str | None = None) -> Iterator[str]:
    """Files that a folder lacks, with the remedy.

    Args:
        variant: the variant of the weights that the user asked for.
    """
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
    elif variant and variant not in (known := variants(folder, layout.trained)):
        yield f"{folder}: {layout.trained} has no weights of variant {variant!r}. It has: {', '.join(known) or 'none'}."


def damaged(folder: Path, layout: Layout, variant: str | None) -> Iterator[str]:
    """Weights that are cut short or are no safetensors."""
    for part in layout.networks:
        for path in weight_files(folder, part, variant):
            try:
                shapes(path)
            except NotSafetensors as error:
                yield f"{path} {error}. Copy it again."
