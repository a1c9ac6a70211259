"""A pipeline's folder looked at from outside: what it lacks, and how many weights it holds.  Nothing is loaded."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ddpo_bench.embedded import MODEL_FOLDER

WEIGHTS = {  # component to its file's name without the ending: safetensors or bin, whole or in parts with an index
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
OLDER = {"text_encoder": "pytorch_model"}  # the name of a .bin of transformers
CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
HEADER_BYTES = 100_000_000  # safetensors' own limit


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


def local_folder(model: str) -> Path | None:
    """Where `policy.model` is on this machine; None for a hub model that would have to be downloaded."""
    if model == "embedded":
        return MODEL_FOLDER
    if Path(model).is_dir():
        return Path(model)
    return cached_folder(model) if is_hub_name(model) else None


def is_hub_name(model: str) -> bool:
    return model.count("/") == 1 and not os.path.isabs(model) and not model.startswith(".") and all(model.split("/"))


def cached_folder(model: str) -> Path | None:
    """The local copy of a hub model, where its largest part has been downloaded; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(model, name) for name in ("unet/config.json", "model_index.json")]
    folders = {Path(name).parents[depth] for name, depth in zip(found, (1, 0), strict=True) if isinstance(name, str)}
    folder = folders.pop() if len(folders) == 1 else None
    return folder if folder and not missing_files(folder) else None


def model_mistakes(model: str) -> list[str]:
    """What would keep a run from loading this model, each with its remedy."""
    folder = Path(model)
    if model == "embedded" or (not folder.is_dir() and is_hub_name(model)):
        return []
    if not folder.is_dir():
        return [f"{model!r} is neither a folder nor a hub name like 'owner/name'. Write embedded, or mend the path."]
    if not (folder / "model_index.json").is_file():
        return [f"{model} holds no model_index.json. Give a folder that StableDiffusionPipeline saved."]
    lacking = missing_files(folder)
    found = [f"{folder} lacks {', '.join(lacking)}. Save the whole pipeline there again."] if lacking else []
    for path in sorted(folder.glob("*/*.safetensors")):
        try:
            shapes(path)
        except ValueError as error:
            found.append(f"{path} {error}. Copy it again.")
    return found


def missing_files(folder: Path) -> list[str]:
    lacking = [name for name in CONFIGS if not (folder / name).is_file()]
    lacking += [f"{part}'s weights" for part in WEIGHTS if not list(weight_files(folder, part))]
    if not any(all((folder / "tokenizer" / name).is_file() for name in names) for names in TOKENIZERS):
        lacking.append("tokenizer/tokenizer.json")
    return lacking


def weight_files(folder: Path, part: str) -> Iterator[Path]:
    """The files of a component's weights: safetensors, or else .bin; empty where some are missing."""
    for stem, ending in ((WEIGHTS[part], "safetensors"), (OLDER.get(part, WEIGHTS[part]), "bin")):
        whole, index = folder / part / f"{stem}.{ending}", folder / part / f"{stem}.{ending}.index.json"
        if whole.is_file():
            yield whole
            return
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            if all((folder / part / name).is_file() for name in names):
                yield from (folder / part / name for name in sorted(names))
                return


def shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, by its header.

    Raises:
        ValueError: where the file is cut short or is something else.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_BYTES:
            raise ValueError("is no safetensors file")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError("is no safetensors file, or is cut short") from None
    tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
    end = 8 + length + max((facts["data_offsets"][1] for facts in tensors.values()), default=0)
    if path.stat().st_size < end:
        raise ValueError(f"is cut short: {path.stat().st_size:,} of {end:,} bytes")
    return {name: facts["shape"] for name, facts in tensors.items()}


@cache
def read_model(folder: Path) -> Model | None:
    """A sound folder's sizes; None where its weights are .bin files, which cannot be counted without loading them."""
    files = {part: list(weight_files(folder, part)) for part in WEIGHTS}
    if any(path.suffix != ".safetensors" for several in files.values() for path in several):
        return None
    counted = {part: {k: v for path in several for k, v in shapes(path).items()} for part, several in files.items()}
    frozen = sum(math.prod(shape) for part in ("vae", "text_encoder") for shape in counted[part].values())
    configs = [json.loads((folder / part / "config.json").read_text(encoding="utf-8")) for part in WEIGHTS]
    return Model(folder, counted["unet"], frozen, *configs)
