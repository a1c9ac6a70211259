"""The files of a learned reward's models: in a local folder, or on the hub, from where they may be fetched once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ddpo_bench.fingerprints import hashes
from ddpo_bench.reward_bases.checking import RewardError

SETTINGS = ("*.json", "*.txt", "*.model")  # configurations and vocabularies
WEIGHTS = ("model*.safetensors",)


def local_path(name: str) -> Path | None:
    """The folder or file that a name means; None where it means a hub model."""
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    return path if path.exists() else None


def place_mistake(name: str, model_type: str | None = None) -> str | None:
    """What is wrong with the name of a model, or with the local folder that it means.

    Args:
        model_type: that the folder's config.json must name; None for one that has none.
    """
    path = local_path(name)
    if path is None:
        on_hub = name.count("/") == 1 and name[0] not in ".~/" and all(name.split("/"))
        return None if on_hub else f"{name!r} is neither a folder nor a hub name like 'owner/name'. Mend the path."
    return type_mistake(path, model_type) if model_type else None


def lacking(name: str, patterns: Sequence[str]) -> str | None:
    """What is wrong with a local folder that holds none of these files; None for a file and for a hub model."""
    path = local_path(name)
    if path is None or not path.is_dir() or any(found for pattern in patterns for found in path.glob(pattern)):
        return None
    return f"{path} holds no {' or '.join(patterns)}. Give the path of the file."


def type_mistake(folder: Path, model_type: str) -> str | None:
    """Why a folder does not hold a model of transformers of this type; a model of another would load as random."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return f"{folder} has no readable config.json: save a whole model of transformers there, of type {model_type}."
    return None if found == model_type else f"{folder} holds a model of type {found}; it must be of type {model_type}."


def folder_of(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local folder of a model, fetched from the hub where the name is of none on this machine.

    Args:
        patterns: of the names of the files that are needed.
    Raises:
        RewardError: where it cannot be fetched, in one line.
    """
    if path := local_path(name):
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the classes of the network's errors differ between versions of the hub's client
        where = name if revision is None else f"{name} at {revision}"
        raise RewardError(
            f"{where} could not be fetched from the hub, and there is no local copy: {one_line(error)} "
            "Check the name, or give a local folder."
        ) from error


def file_of(name: str, revision: str | None, names: Sequence[str]) -> Path:
    """A file of weights: the local one that is named or, of a folder or a hub model, the first of `names` there.

    Raises:
        RewardError: where there is none, in one line.
    """
    folder = folder_of(name, revision, names)
    if folder.is_file():
        return folder
    for file in (folder / one for one in names):
        if file.exists():
            return file
    raise RewardError(f"{name} holds no {' or '.join(names)}. Check the revision, or give the path of the file.")


def one_line(error: Exception) -> str:
    """The first line of an error, as a sentence."""
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0].strip()
    return text if text.endswith(".") else f"{text}."


def input_hashes(name: str, patterns: Sequence[str]) -> dict[str, str]:
    """Hashes of a local model's files; a hub model is known by its name and revision."""
    path = local_path(name)
    if path is None:
        return {}
    if path.is_file():
        return hashes(path.parent, [path])
    return hashes(path, {file for pattern in patterns for file in path.glob(pattern)})
