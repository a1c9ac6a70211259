"""What a run leaves on disk and tells of itself; of several processes that train it, the first does so alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from ddpo_bench.config import RunConfig
from ddpo_bench.training.checkpoint import Checkpoints
from ddpo_bench.training.evaluation import save_grid
from ddpo_bench.training.loggers import make_logger
from ddpo_bench.training.metrics_file import MetricsFile
from ddpo_bench.training.run_identity import refuse_other_run, write_identity
from ddpo_bench.training.status import Status, end_after

Row = dict[str, Any]
Phase = Literal["checkpoint", "files"]


class Record:
    """What a training tells of itself; this one forgets it, as it does on all processes except for the first.

    Attributes:
        parts: of the run's state, by name, that the record holds itself.
    """

    parts: Mapping[str, Any] = MappingProxyType({})

    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return False

    def to_its_end(self) -> AbstractContextManager[None]:
        """Around all the work, of which the record then holds how it ended."""
        return nullcontext()

    def identify(self, provenance: dict[str, Any]) -> None:
        """All that the configuration names has started."""

    def opened(self, first_epoch: int) -> AbstractContextManager[None]:
        """Around the epochs, beginning with the first that is not recorded yet."""
        return nullcontext()

    def start_anew(self) -> None:
        """Before the first epoch of a run without a checkpoint."""

    def row(self, row: Row) -> None:
        """A row of metrics."""

    def sampled(self, epoch: int, count: int) -> None:
        """How many trajectories of an epoch are finished."""

    def pictures(self, images: Tensor, prompts: list[str], epoch: int) -> None:
        """Images of an evaluation, [N, 3, H, W] in [0, 1]."""

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint is to be saved after this epoch."""
        return False

    def measure(self, phase: Phase) -> AbstractContextManager[None]:
        """Around work whose seconds count for this phase."""
        return nullcontext()

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """A checkpoint."""

    def finished(self, epoch: int) -> None:
        """An epoch with all that belongs to it."""

    def note(self, line: str) -> None:
        """Something worth knowing."""


class RunFolder(Record):
    """Records a run in its folder, and tells loggers and whoever follows it of its rows."""

    def __init__(self, config: RunConfig, folder: Path, on_row: Callable[[Row], None]):
        """Begin with what the folder holds.

        Args:
            on_row: called with every row, and with {"epoch", "sampled"} while sampling.
        Raises:
            DifferentConfig: where `folder` holds a run of another configuration, or a file that it reads has changed.
        """
        refuse_other_run(folder, config)
        self.config, self.folder, self.on_row = config, folder, on_row
        self.status = Status.of(folder, config.epochs)
        self.metrics = MetricsFile(folder / "metrics.jsonl")
        self.parts = {"metrics": self.metrics}

    def is_done(self) -> bool:
        return self.status.state == "done" and self.status.epoch >= self.config.epochs

    @contextmanager
    def to_its_end(self) -> Iterator[None]:
        """Keep status.json up to date."""
        self.status.begin()
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            self.status.end(*end_after(error))
            raise
        self.status.end("done")

    def identify(self, provenance: dict[str, Any]) -> None:
        write_identity(self.folder, self.config, provenance)

    @contextmanager
    def opened(self, first_epoch: int) -> Iterator[None]:
        with (
            closing(make_logger(self.config, self.folder, first_epoch)) as self.logger,
            Checkpoints(self.folder, self.metrics.path) as self.checkpoints,
        ):
            self.status.is_ready()
            yield
        self.status.metrics_crc32 = self.metrics.crc32

    def start_anew(self) -> None:
        self.metrics.start_anew()

    def row(self, row: Row) -> None:
        with self.measure("files"):
            self.metrics.append(row)
            self.logger.log(row)
            self.on_row(row)

    def sampled(self, epoch: int, count: int) -> None:
        self.on_row({"epoch": epoch, "sampled": count})

    def pictures(self, images: Tensor, prompts: list[str], epoch: int) -> None:
        save_grid(images, prompts, self.folder / "samples", epoch)

    def is_due(self, epoch: int) -> bool:
        recently = time.monotonic() - self.checkpoints.saved < self.config.checkpoint_seconds
        return epoch in (0, self.config.epochs) or not recently

    def measure(self, phase: Phase) -> AbstractContextManager[None]:
        return self.status.measure(phase)

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        self.checkpoints.save(epoch, state, keep=1 if epoch == self.config.epochs else self.config.checkpoints_kept)

    def finished(self, epoch: int) -> None:
        self.checkpoints.then(lambda: self.status.progress(epoch))

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
