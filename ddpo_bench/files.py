"""Atomic writes, which a crash leaves undone or complete, and a lock that one process holds at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

FULL = {  # nobody can write anything more
    errno.ENOSPC: "no space is left on the disk. Free some",
    errno.EDQUOT: "the disk quota is used up. Free some space",
    errno.EFBIG: "a file has reached the largest size allowed (ulimit -f). Raise the limit",
    errno.EROFS: "it is read-only. Make it writable",
}
REFUSED = {  # this path cannot be written
    errno.EACCES: "permission denied. Change its permissions, or choose another folder",
    errno.EPERM: "permission denied. Change its permissions, or choose another folder",
    errno.EEXIST: "cannot be created, because its name or a parent's is that of a file. Choose another folder",
    errno.ENOTDIR: "cannot be created, because its name or a parent's is that of a file. Choose another folder",
}


class InUse(Exception):
    """Another process holds a lock; the message says which and what to do."""


class DiskTrouble(Exception):
    """A folder that cannot be written to; the message is one line with the folder and the remedy.

    Attributes:
        number: the system's errno, a key of `FULL` or `REFUSED`.
    """

    def __init__(self, folder: Path, number: int):
        self.number = number
        super().__init__(f"{folder}: {(FULL | REFUSED)[number]}, then run the same command again. Nothing is lost.")


@contextmanager
def naming_disk_trouble(folder: Path) -> Iterator[None]:
    """Raise DiskTrouble in place of the system's error where `folder` cannot be written to."""
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
    """Check before any work that its result can be written to `path`; creates the folder.

    Raises:
        DiskTrouble: where it cannot.
    """
    trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming_disk_trouble(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which it replaces at the end, synced to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # libraries go by the suffix
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder next to `path`, whose place it takes at the end, synced to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; creates missing folders."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def write_yaml(path: Path, data: Any) -> None:
    """Write plain mappings and lists as YAML atomically, keys in the order given."""
    write_text(path, plain_yaml(data))


def plain_yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)


class PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice out in full both times, not as an anchor and an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@contextmanager
def exclusive(lock: Path, busy: str) -> Iterator[None]:
    """Hold the lock file for the duration of the block; the system releases it however the process ends.

    Args:
        lock: the file to lock; created where it is missing.
        busy: the message of InUse, in which "{pid}" becomes the process that holds the lock.
    Raises:
        InUse: at once, without waiting, where another process holds the lock.
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
