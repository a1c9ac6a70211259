"""The journal of a sweep: Optuna's own, in which no entry is half written and none is read that was damaged."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Generator
from io import FileIO
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from ddpo_bench.checksummed import carries_checksum

LOCK_SECONDS = 30  # after which the lock of a process that was killed while it wrote is broken


class DamagedJournal(Exception):
    """An entry that is not as it was written, or a journal that is gone."""


class ChecksummedJournal(JournalFileBackend):
    """Gives every entry its checksum, which Optuna and its dashboard pass over as one key more."""

    def __init__(self, path: Path):
        self.path = path
        self.lock = JournalFileSymlinkLock(str(path), LOCK_SECONDS)
        super().__init__(str(path), self.lock)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Entries without their checksums; one that has none, as others write it, is taken as it is.

        The last entry, where it is not whole, is being written or was cut short: it does not count.

        Raises:
            DamagedJournal: for an entry that is not JSON, or not what was written; where the journal was deleted.
        """
        if not self.path.exists():
            raise DamagedJournal(
                f"{self.path}: was deleted while it was in use. Run the same command again, which creates it again."
            )
        try:
            for entry in super().read_logs(log_number_from):
                if carries_checksum(entry, checksum) and entry.pop("crc32", None) != checksum(entry):
                    raise DamagedJournal(f"{self.path}: the checksum of an entry differs.")
                yield entry
        except ValueError as error:  # not JSON, or not text
            raise DamagedJournal(f"{self.path}: an entry is not JSON ({error}).") from None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries, all or none: what a full disk or a crash cut short is dropped before the next."""
        lines = b"".join(map(checksum_line, logs))
        self.lock.acquire()
        try:
            with self.path.open("r+b", buffering=0) as file:
                append_whole(file, lines)
        finally:
            self.lock.release()


def append_whole(file: FileIO, lines: bytes) -> None:
    """Write and sync behind the last whole line, or leave the file as it was."""
    end = end_of_whole_lines(file)
    file.seek(end)
    rest = memoryview(lines)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def end_of_whole_lines(file: FileIO) -> int:
    """Where the last newline ends; what is behind it was cut short, and goes."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1))
    if file.read(1) in (b"\n", b""):
        return end
    file.seek(0)
    end = file.readall().rfind(b"\n") + 1
    file.truncate(end)
    return end


def checksum_line(entry: dict[str, Any]) -> bytes:
    return b'%b,"crc32":%d}\n' % (text_of(entry)[:-1], checksum(entry))


def checksum(entry: dict[str, Any]) -> int:
    return zlib.crc32(text_of(entry))


def text_of(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode()
