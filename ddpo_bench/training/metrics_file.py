"""metrics.jsonl: one row per line, appended; the rows up to a checkpoint are checked when a run resumes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import Damaged
from ddpo_bench.files import replacing, write_text


class MetricsFile:
    """The rows of one run, append-only.

    Its state, which is part of every checkpoint, is the size and checksum of the rows so far.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = 0
        self.crc32 = 0

    def start_anew(self) -> None:
        """Drop the rows of an earlier session that wrote no checkpoint."""
        write_text(self.path, "")

    def append(self, row: dict[str, Any]) -> None:
        line = (json.dumps(row) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
        self.size += len(line)
        self.crc32 = zlib.crc32(line, self.crc32)

    def state_dict(self) -> dict[str, int]:
        return {"size": self.size, "crc32": self.crc32}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Keep only the rows up to the checkpoint; later ones will be written again.

        Raises:
            Damaged: where the rows have changed since the checkpoint.
        """
        seen = (self.path.read_bytes() if self.path.exists() else b"")[: state["size"]]
        if len(seen) < state["size"] or zlib.crc32(seen) != state["crc32"]:
            raise Damaged(
                f"{self.path}: is damaged: its rows have changed since the checkpoint. "
                f"Delete {self.path.parent} to train the run again."
            )
        with replacing(self.path) as temporary:
            temporary.write_bytes(seen)
        self.size, self.crc32 = state["size"], state["crc32"]
