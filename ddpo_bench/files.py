"""Writing so that a crash at any moment leaves the old file or the new one, and locking a folder for one process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

FULL = {  # nothing more can be written, whoever tries
    errno.ENOSPC: "no space is left on its disk. Free some",
    errno.EDQUOT: "the quota of its disk is used up. Free some space",
    errno.EFBIG: "a file has reached the largest size that is allowed (ulimit -f). Raise it",
    errno.EROFS: "it is read-only. Make it writable",
}
REFUSED = {  # this path cannot be written
    errno.EACCES: "this user may not write there. Change its permissions, or choose another folder",
    errno.EPERM: "this user may not write there. Change its permissions, or choose another folder",
    errno.EEXIST: "cannot be made, since a file has its name or is on the way to it. Choose another folder",
    errno.ENOTDIR: "cannot be made, since a file has its name or is on the way to it. Choose another folder",
}


class InUse(Exception):
    """Another process holds a lock; the message says which and what to do."""


class DiskTrouble(Exception):
    """A folder that takes no more; the message is one line with the folder and the remedy.

    Attributes:
        number: the system's, as in `FULL` and `REFUSED`.
    """

    def __init__(self, folder: Path, number: int):
        self.number = number
        super().__init__(f"{folder}: {(FULL | REFUSED)[number]}, then give the same command again. Nothing is lost.")


@contextmanager
def naming_disk_trouble(folder: Path) -> Iterator[None]:
    """Turn the system's word that nothing more can be written to `folder` into a DiskTrouble."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename) if isinstance(error.filename, str) else folder
        if error.errno in FULL:
            raise DiskTrouble(folder if is_on_the_way(place, folder) else place.parent, error.errno) from error
        if error.errno in REFUSED and error.filename and is_on_the_way(place, folder):
            raise DiskTrouble(folder, error.errno) from error
        raise


def is_on_the_way(path: Path, folder: Path) -> bool:
    """Whether a path is the folder, in it, or above it."""
    path, folder = path.absolute(), folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def refuse_unwritable(path: Path) -> None:
    """Say before any work that a file could not be written after it; its folder is made.

    Raises:
        DiskTrouble: as writing it would.
    """
    trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming_disk_trouble(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` at the end, synced to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # libraries go by the suffix
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; missing folders are made."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_yaml(path: Path, data: Any) -> None:
    """Write plain mappings and lists as YAML atomically, keys in their own order."""
    write_text(path, plain_yaml(data))


def plain_yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)


class PlainDumper(yaml.SafeDumper):
    """Writes a value that stands in two places twice, not as an anchor and an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@contextmanager
def exclusive(lock: Path, busy: str) -> Iterator[None]:
    """Hold `lock` until the end; the system releases it however the process ends.

    Args:
        busy: what to say where another process holds it; its "{pid}" is filled in.
    Raises:
        InUse: at once, without waiting.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUse(busy.replace("{pid}", file.read().strip() or "unknown")) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
