"""Lists of words and prompts with one per line: those shipped and the user's own files."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from ddpo_bench.embedded.scenes import ANIMALS
from ddpo_bench.fingerprints import Inputs, hashes

LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines splits at eight more, such as the form feed and U+2028
STRUCTURED = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".yaml", ".yml", ".xml")


@cache
def shipped_words(name: str) -> tuple[str, ...]:
    """The entries of `words/<name>.txt`, without its first lines, which begin with "#" and give the source."""
    text = resources.files("ddpo_bench.prompts").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in lines_of(text) if not line.startswith("#"))


def file_words(option: str, path: str, wanted: str = "a text file with one entry per line") -> tuple[str, ...]:
    """The lines of a user's text file, stripped and without blank ones; there are no comments.

    Args:
        option: the option that names the file, with which errors begin.
        path: path relative to the current directory.
        wanted: the format that the error asks for where the file is structured.
    Raises:
        ValueError: where the file is missing, unreadable, not UTF-8 text, structured, or empty.
    """
    lines = lines_of(file_text(option, path))
    if Path(path).suffix.lower() in STRUCTURED or is_json_object(next(iter(lines), "")):
        raise ValueError(f"{option}: {path!r} is structured; give {wanted}.")
    if not lines:
        raise ValueError(f"{option}: {path!r} holds no entries; write one per line.")
    return lines


def is_json_object(line: str) -> bool:
    """Whether a line is a JSON object rather than text."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@lru_cache(maxsize=8)
def lines_of(text: str) -> tuple[str, ...]:
    """The lines that are not blank, stripped; they end at \\n, \\r\\n or \\r, as in an editor."""
    return tuple(line.strip() for line in LINE_END.split(text) if line.strip())


def file_text(option: str, path: str) -> str:
    """The text of a user's file, unchanged.

    Args:
        option, path: as for `file_words`.
    Raises:
        ValueError: where the file is missing, unreadable, or not UTF-8 text.
    """
    file = Path(path).expanduser()
    try:
        return file.read_bytes().decode("utf-8-sig")  # editors on Windows write a byte-order mark
    except FileNotFoundError:
        raise ValueError(f"{option}: no such file {path!r} (seen from {Path.cwd()}).{nearest_file(file)}") from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{option}: {path!r} is not UTF-8 text; save it as plain text with one entry per line."
        ) from None
    except OSError as error:
        raise ValueError(f"{option}: {path!r} cannot be read: {error.strerror}.") from None


def file_inputs(**paths: str | None) -> Inputs:
    """Hashes of the files that options name, for a prompt function's `inputs`."""
    files = {option: Path(path).expanduser() for option, path in paths.items() if path is not None}
    return {option: hashes(file.parent, [file]) for option, file in files.items()}


def nearest_file(path: Path) -> str:
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def noun_words(path: str | None) -> tuple[str, ...]:
    """The nouns in the file that option `nouns` names, or by default DDPO's 45 simple animals."""
    return tuple(ANIMALS) if path is None else file_words("nouns", path)


def pick(rng: np.random.Generator, entries: Sequence[str]) -> str:
    """A uniformly random entry."""
    return entries[int(rng.integers(len(entries)))]
