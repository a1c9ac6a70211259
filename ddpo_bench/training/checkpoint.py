"""Checkpoints of a run: atomic and checked; the newest K are kept, and only tensors and plain containers unpickled."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

import torch

from ddpo_bench.files import sync

FOLDER = "checkpoint"


class CorruptCheckpoint(Exception):
    """A checkpoint file cannot be read back."""


class Checkpoints:
    """Writes the checkpoints of a run; each is synced to the disk during the next epoch."""

    def __init__(self, run: Path, metrics: Path):
        """Start without checkpoints.

        Args:
            run: the run's folder.
            metrics: the file of its metrics, synced to the disk before the checkpoint that includes its rows.
        """
        self.run, self.metrics = run, metrics
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.pending: list[Future[None]] = []
        self.saved = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.pool.shutdown()
        if kind is None:
            self.wait()

    def save(self, epoch: int, state: dict[str, Any], keep: int) -> None:
        """Write `state` as the checkpoint of `epoch`, and remove all but the newest `keep`."""
        self.wait()
        folder = self.run / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"epoch-{epoch:04d}.partial"
        try:
            with partial.open("wb") as file:
                write_state(state, file)
        except BaseException:
            partial.unlink(missing_ok=True)  # so that half a file does not take up a full disk
            raise
        self.saved = time.monotonic()
        self.then(lambda: self.publish(partial, keep))

    def then(self, task: Callable[[], None]) -> None:
        """Run a task during the next epoch, after the earlier checkpoints are on the disk."""
        self.pending.append(self.pool.submit(task))

    def publish(self, partial: Path, keep: int) -> None:
        try:
            sync(self.metrics)
            sync(partial)
            partial.replace(partial.with_suffix(".pt"))
        finally:
            partial.unlink(missing_ok=True)
        sync(partial.parent)
        for old in checkpoints(self.run)[:-keep]:
            old.unlink()

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            OSError: where it could not be written.
        """
        while self.pending:
            self.pending.pop(0).result()


def write_state(state: dict[str, Any], file: IO[bytes]) -> None:
    """Save a state; where the disk is full, or we are interrupted, torch.save hides that behind an error of its own."""
    try:
        torch.save(state, file)
        file.flush()
    except RuntimeError as error:
        told = (cause for cause in causes(error) if isinstance(cause, (OSError, KeyboardInterrupt)))
        raise next(told, error) from None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def checkpoints(run: Path) -> list[Path]:
    """The checkpoint files of a run, oldest first."""
    return sorted((run / FOLDER).glob("epoch-*.pt"))


def can_resume(run: Path) -> bool:
    """Whether a run's newest checkpoint holds all that its next epoch needs; older versions kept only the policy.

    Raises:
        CorruptCheckpoint: as for `load_newest`.
    """
    state = load_newest(run, torch.device("meta"))
    return state is None or state["epoch"] == 0 or "algorithm" in state


def load_newest(run: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in the newest checkpoint of a run; None where there is none.

    Args:
        run: the run's folder.
        device: where tensors are loaded.
    Raises:
        CorruptCheckpoint: where the newest file is damaged; an older one is never used silently.
    """
    path = newest(run)
    return load(path, device) if path else None


def newest(run: Path) -> Path | None:
    """The newest checkpoint file of a run."""
    return next(reversed(checkpoints(run)), None)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The state in a checkpoint file: a zip archive with checksums, which torch.load does not check.

    Raises:
        CorruptCheckpoint: where the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if wrong := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {wrong} differs")
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for a torn or foreign file
        raise CorruptCheckpoint(
            f"{path}: the checkpoint is damaged ({type(error).__name__}); delete it to resume from the one before."
        ) from error
    if "metrics" not in state:
        raise CorruptCheckpoint(of_an_older_version(path.parent.parent))
    return state


def restore(run: Path, parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Give each part its saved state.

    Args:
        run: the run's folder.
        parts: by the names under which the checkpoint holds them.
        state: of `load_newest`; a checkpoint before the first epoch holds only the metrics.
    Raises:
        CorruptCheckpoint: where a part was saved by another version.
    """
    for name in [name for name in parts if name in state]:
        try:
            parts[name].load_state_dict(state[name])
        except (KeyError, TypeError) as error:
            unread = f"its state of the {name} cannot be read ({type(error).__name__}: {error})"
            raise CorruptCheckpoint(f"{of_an_older_version(run)} In detail: {unread}.") from error


def of_an_older_version(run: Path) -> str:
    return f"{run}: the checkpoint was made by an older version. Delete the folder to train the run again."
