"""Checkpoints of a run: atomic, the newest K kept, nothing unpickled but tensors and plain containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

FOLDER = "checkpoint"


class CorruptCheckpoint(Exception):
    """A checkpoint file that cannot be read back."""


def save_checkpoint(run: Path, epoch: int, state: dict[str, Any], keep: int) -> None:
    """Write `state` as the checkpoint of `epoch` and remove all but the newest `keep`."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{epoch:04d}.pt"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    for old in checkpoints(run)[:-keep]:
        old.unlink()


def keep_policy_alone(run: Path) -> None:
    """Shrink a finished run to the weights that pictures are drawn from; optimisers and replays are far larger."""
    state = load_newest(run, torch.device("cpu"))
    if state is not None:
        save_checkpoint(run, state["epoch"], {"epoch": state["epoch"], "policy": state["policy"]}, keep=1)


def checkpoints(run: Path) -> list[Path]:
    """Checkpoint files, oldest first."""
    return sorted((run / FOLDER).glob("epoch-*.pt"))


def load_newest(run: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None where there is none.

    Raises:
        CorruptCheckpoint: where the newest file is damaged; an older one is never used silently.
    """
    found = checkpoints(run)
    if not found:
        return None
    try:
        return torch.load(found[-1], map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a torn or foreign file
        raise CorruptCheckpoint(
            f"{found[-1]}: the checkpoint is damaged ({type(error).__name__}); delete it to go on from the one before."
        ) from error
