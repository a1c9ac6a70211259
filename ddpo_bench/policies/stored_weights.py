"""The files in which a pipeline's folder keeps its parts: weights and their shapes, by name and header.

Weights are read as safetensors alone: a .bin file is a pickle, which may run code when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HEADER_BYTES = 100_000_000  # safetensors' own limit


class NotSafetensors(ValueError):
    """A file that is cut short or is something else."""


class NotReadable(ValueError):
    """A JSON file that holds no mapping."""


def weights_name(part: str) -> str:
    """The name of a part's weights without the ending: transformers has its own, diffusers another."""
    return "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"


def weight_files(folder: Path, part: str, wanted: str | None = None) -> Iterator[Path]:
    """The safetensors files of a part's weights; empty where some are missing.

    Args:
        wanted: the variant that is read where the part has it, such as fp16; elsewhere, and without one, the weights of
            no variant are, or those of any where there are no others.
    """
    found = stored(folder, part, f".{wanted}") if wanted else []
    found = found or stored(folder, part, "")
    for variant in () if found else variants(folder, part):
        found = found or stored(folder, part, f".{variant}")
    yield from found


def stored(folder: Path, part: str, variant: str) -> list[Path]:
    stem = weights_name(part)
    whole = folder / part / f"{stem}{variant}.safetensors"
    index = folder / part / f"{stem}.safetensors.index{variant}.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        files = [folder / part / name for name in sorted(set(read_json(index).get("weight_map", {}).values()))]
        return files if all(file.is_file() for file in files) else []
    return []


def variants(folder: Path, part: str) -> list[str]:
    """Names of the variants in which a part's weights are stored, as in `model.fp16.safetensors`."""
    whole = (folder / part).glob(f"{weights_name(part)}.*.safetensors")
    parts = (folder / part).glob(f"{weights_name(part)}.safetensors.index.*.json")
    return sorted({path.name.split(".")[-2] for path in (*whole, *parts)})


def variant_of(folder: Path, parts: Iterable[str], wanted: str | None = None) -> str | None:
    """The variant that must be named to load a folder: the one that is wanted, or what some part has no weights but of;
    None where all parts have weights of no variant."""
    for part in () if wanted else parts:
        if not stored(folder, part, "") and (names := variants(folder, part)):
            return names[0]
    return wanted


def part_shapes(folder: Path, part: str, variant: str | None = None) -> dict[str, list[int]]:
    """Shapes of a part's weights by name."""
    return {name: shape for path in weight_files(folder, part, variant) for name, shape in shapes(path).items()}


def shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, by its header.

    Raises:
        NotSafetensors: where the file is cut short or is something else.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_BYTES:
            raise NotSafetensors("is no safetensors file")
        try:
            header = json.loads(file.read(length))
            tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
            end = 8 + length + max((facts["data_offsets"][1] for facts in tensors.values()), default=0)
            found = {name: facts["shape"] for name, facts in tensors.items()}
        except (ValueError, AttributeError, KeyError, TypeError):
            raise NotSafetensors("is no safetensors file, or is cut short") from None
    if path.stat().st_size < end:
        raise NotSafetensors(f"is cut short: {path.stat().st_size:,} of {end:,} bytes")
    return found


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotReadable(f"{path} cannot be read as JSON ({type(error).__name__}). Copy it again.") from None
    if not isinstance(found, dict):
        raise NotReadable(f"{path} holds no mapping. Copy it again.")
    return found
