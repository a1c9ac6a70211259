"""What a server is told on its command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")
QUEUE_SIZE = 16  # generations that wait; further ones are told to come again
MEMORY = 4 * 10**9  # bytes


@dataclass(frozen=True)
class Settings:
    """What a server is told on its command line.

    Attributes:
        folders: results folders, or folders above them, folders of runs, and exported LoRA folders.
        host: the address to listen on.
        port: to listen on; 0 takes a free one.
        token: that every request must carry; None asks for none, on loopback alone.
        memory: bytes that loaded models may take.
        queue_size: generations that wait at most.
        votes: the SQLite file of the blind votes.
    """

    folders: tuple[Path, ...] = (Path("results"),)
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    memory: int = MEMORY
    queue_size: int = QUEUE_SIZE
    votes: Path = Path("results/votes.sqlite")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
