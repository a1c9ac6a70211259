"""A folder that one may only read, which permission bits cannot make for root: writing raises what the system would."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.utime", "os.truncate"}
folders: list[Path] = []  # empty but within `read_only`: the hook stays for the rest of the process


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Refuse within `folder`, until the end, all that would change it."""
    install_hook()
    folders.append(folder.resolve())
    try:
        yield
    finally:
        folders.pop()


@cache
def install_hook() -> None:
    sys.addaudithook(refuse)


def refuse(event: str, args: tuple[Any, ...]) -> None:
    if not folders or not (event in CHANGES or event == "open"):
        return
    path = args[0]
    if not isinstance(path, str | bytes | os.PathLike) or (event == "open" and not args[2] & WRITING):
        return
    place = Path(os.fsdecode(path)).absolute()
    if event == "os.mkdir" and place.exists():
        return  # it says so itself
    if any(place.is_relative_to(folder) for folder in folders):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
