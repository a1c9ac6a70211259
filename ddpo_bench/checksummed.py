"""Small files that carry the CRC-32 of their content, which is checked whenever they are read."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ddpo_bench.files import plain_yaml, write_text
from ddpo_bench.yaml_file import load_yaml, make_strict

CHECKSUM_LINE = re.compile(rb"# crc32: ([0-9a-f]{8})\n")  # the first line of a checksummed YAML file


class FastLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML as `load_yaml` does, with libyaml where installed: ten times as fast, seconds on a thousand runs."""


make_strict(FastLoader)


class Damaged(Exception):
    """A file has changed since it was written; the message is one line with the file and the remedy."""


def write_checksummed_json(path: Path, data: dict[str, Any]) -> None:
    """Write an object as JSON atomically, with its checksum as the last key."""
    write_text(path, checksummed_text(data))


def checksummed_text(data: dict[str, Any]) -> str:
    return json.dumps({**data, "crc32": checksum(data)}, indent=2) + "\n"


def read_checksummed_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read an object, without its checksum; files of older versions, which have none, are read unchecked.

    Args:
        path: a file of `write_checksummed_json`.
        remedy: the sentence that ends the error.
    Raises:
        Damaged: where the file is not JSON, or its checksum differs.
    """
    content = path.read_bytes()
    try:
        data = json.loads(content)
    except ValueError:  # not JSON, or not text
        raise Damaged(f"{path}: is damaged: not valid JSON. {remedy}") from None
    if not isinstance(data, dict):
        raise Damaged(f"{path}: is damaged: expected a JSON object, found {type(data).__name__}. {remedy}")
    checked = carries_checksum(data, checksum)
    if checked and (data.pop("crc32", None) != checksum(data) or content != checksummed_text(data).encode()):
        raise Damaged(f"{path}: is damaged: its checksum differs. {remedy}")
    return data


def write_checksummed_yaml(path: Path, data: dict[str, Any]) -> None:
    """Write plain mappings and lists as YAML atomically, with their checksum in a comment on the first line."""
    text = plain_yaml(data)
    write_text(path, f"# crc32: {zlib.crc32(text.encode()):08x}\n{text}")


def read_checksummed_yaml(path: Path, remedy: str) -> dict[str, Any]:
    """Read a mapping that `write_checksummed_yaml` wrote; files of older versions, which have no checksum, pass.

    Args:
        path: the file.
        remedy: the sentence that ends the error.
    Raises:
        Damaged: where the file is empty, or its checksum differs.
        ConfigError: as `load_yaml`.
    """
    content = path.read_bytes()
    first_line = CHECKSUM_LINE.match(content)
    if not content:
        raise Damaged(f"{path}: is damaged: it is empty. {remedy}")
    broken = content.startswith(b"#") or b"crc32" in content[:16]  # without a checksum our YAML begins with a key
    if int(first_line[1], 16) != zlib.crc32(content[first_line.end() :]) if first_line else broken:
        raise Damaged(f"{path}: is damaged: its checksum differs. {remedy}")
    try:
        data = yaml.load(content, FastLoader)
    except yaml.YAMLError:
        data = None
    return data if isinstance(data, dict) else load_yaml(path)  # which says what is wrong


def check_crc32(path: Path, expected: int | None, remedy: str) -> None:
    """Refuse a file whose checksum is not the expected one.

    Args:
        path: the file; a missing one counts as empty.
        expected: the CRC-32 of its content; None accepts any content.
        remedy: the sentence that ends the error.
    Raises:
        Damaged: where the checksum differs.
    """
    if expected is not None and zlib.crc32(path.read_bytes() if path.exists() else b"") != expected:
        raise Damaged(f"{path}: is damaged: it has changed since the run wrote it. {remedy}")


def carries_checksum(data: dict[str, Any], checksum: Callable[[dict[str, Any]], int]) -> bool:
    """Whether the last key of an object is its checksum, even where damage has changed the key's name."""
    if "crc32" in data:
        return True
    *others, last = data.items() or [("", None)]
    return last[1] == checksum(dict(others))


def checksum(data: dict[str, Any]) -> int:
    """CRC-32 of an object's JSON text."""
    return zlib.crc32(json.dumps(data).encode())
