"""metrics.jsonl: one row a line, appended; what a checkpoint has seen of it is checked on resuming."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from ddpo_bench.checksummed import Damaged
from ddpo_bench.files import replacing, write_text


class MetricsFile:
    """Append-only rows of one run.

    Its state, part of every checkpoint, is the size and the checksum of the rows so far.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = 0
        self.crc32 = 0

    def start_anew(self) -> None:
        """Drop the rows of an earlier session that no checkpoint has seen."""
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
        """Go on after the rows that a checkpoint has seen; later ones are written again.

        Raises:
            Damaged: where those rows are not what was written.
        """
        seen = (self.path.read_bytes() if self.path.exists() else b"")[: state["size"]]
        if len(seen) < state["size"] or zlib.crc32(seen) != state["crc32"]:
            raise Damaged(
                f"{self.path}: is damaged: not the rows that the checkpoint has seen. "
                f"Delete {self.path.parent} to train the run again."
            )
        with replacing(self.path) as temporary:
            temporary.write_bytes(seen)
        self.size, self.crc32 = state["size"], state["crc32"]
