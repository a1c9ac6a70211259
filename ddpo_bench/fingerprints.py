"""SHA-256 hashes of the files that a run reads besides its configuration, so that a changed file is another input.

A plugin that reads files offers `inputs()`, which maps the option that names them to {name: hash}.  Names are relative
to the option's path, so that the same content is the same input wherever it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ddpo_bench.files import write_json

Inputs = dict[str, dict[str, str]]
asked_for: dict[str, str] = {}  # path to hash, of all files that this process has hashed
NAMED = 3  # changed files that a message names for one option
LARGE = 64 * 2**20  # bytes; hashing this takes a tenth of a second, so that the hash is kept for later commands


def hashes(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The hash of every file, by its name relative to `folder`.

    Raises:
        OSError: where a file cannot be read.
    """
    return {file.relative_to(folder).as_posix(): file_hash(file) for file in sorted(files)}


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, which is read again only if its size or times have changed."""
    path = path.resolve()
    stat = path.stat()
    found = asked_for[str(path)] = known_hash(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


@functools.lru_cache(maxsize=4096)
def known_hash(path: str, size: int, *times: int) -> str:
    if size < LARGE:
        return read_hash(path)
    key = json.dumps([path, size, *times])
    kept = kept_hashes()
    if key not in kept:
        kept[key] = read_hash(path)
        with contextlib.suppress(OSError):  # where the home folder cannot be written to
            write_json(keeping_place(), kept)
    return kept[key]


def read_hash(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_hashes() -> dict[str, str]:
    """The hashes of large files kept by earlier commands, by path, size and times."""
    try:
        kept = json.loads(keeping_place().read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def keeping_place() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ddpo-bench", "hashes.json")


def changed(before: Inputs, after: Inputs) -> str:
    """The files that differ, as text: "prompts.path (cats.txt)"; empty where none do."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, {}), after.get(key, {})
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        found += [f"{key} ({', '.join(names[:NAMED])}{more})"] if names else []
    return ", ".join(found)
