"""A disk that gets full, or cannot be written: for the files whose path matches, in this process."""

import builtins
import errno
import io
import os
import re

PATTERN, ROOM = "FULL_DISK_PATTERN", "FULL_DISK_ROOM"
real_open = io.open


class FullFile(io.FileIO):
    """Takes what there is room for, all such files of a process together, as a full disk does."""

    room = 0

    def write(self, data):
        data = memoryview(data).cast("B")
        if data and not FullFile.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(data[: FullFile.room])
        FullFile.room -= written
        return written


def fill(pattern, room=0, error=errno.ENOSPC):
    """From now on files that match take `room` bytes, or, for any other error than a full disk, cannot be opened."""
    FullFile.room = room

    def limited_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        writes = set(mode) & set("wax+")
        if not writes or isinstance(file, int) or not re.search(pattern, os.fspath(file)):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if error != errno.ENOSPC:
            raise OSError(error, os.strerror(error), os.fspath(file))
        raw = FullFile(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    io.open = builtins.open = limited_open


def environment(pattern, room=0):
    """What makes fake_command.py and its worker processes `fill` the disk."""
    return {PATTERN: pattern, ROOM: str(room)}
