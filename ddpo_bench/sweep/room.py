"""How many workers this machine has room for, and which of its GPUs each of them holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ddpo_bench.config import Resources
from ddpo_bench.training.gpu_share import VARIABLE

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # environment of a worker where there is no GPU


class NoRoom(Exception):
    """More workers were asked for than have a GPU; the message is one line."""


@dataclass(frozen=True)
class Room:
    """This machine, as the workers of one command share it.

    Attributes:
        visible: what CUDA_VISIBLE_DEVICES calls each GPU of this process: a number, or the name of a GPU or MIG slice.
        processes, gpus: those of the largest run, which every worker holds for as long as it lives.
        runs_per_gpu: how many runs of one GPU share one.
        variables: of every worker.
    """

    visible: Sequence[str]
    processes: int
    gpus: int
    runs_per_gpu: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """How many workers have GPUs of their own."""
        return max(1, len(self.visible) // self.gpus)

    @property
    def most(self) -> int:
        """How many workers there is room for: by GPUs where the runs use any, else by cores."""
        if self.gpus:
            return self.places * self.runs_per_gpu
        return max(1, (os.cpu_count() or 1) // self.processes)

    def workers(self, asked: int | None) -> int:
        """How many workers to start.

        Args:
            asked: by the user; None is as many as there is room for.
        Raises:
            NoRoom: where some would have no GPU.
        """
        if asked is None or asked <= self.most or not (self.gpus and self.visible):
            return asked or self.most
        if self.gpus == 1:
            more = f"For several runs on a GPU, add --runs-per-gpu {-(-asked // len(self.visible))}."
        else:
            more = "Leave out --workers; --runs-per-gpu is only for runs on one GPU."
        gpus, each = counted(len(self.visible), "GPU"), counted(self.gpus, "GPU")
        raise NoRoom(f"--workers {asked}: with {gpus} there is room for {self.most}, each with {each}. {more}")

    def environments(self, count: int) -> list[dict[str, str]]:
        """Variables for each of `count` workers: its GPUs and its share of them, or one thread where it has none.

        Two one-thread workers do more than one process with two threads, and numbers do not depend on the core count.
        """
        if not self.gpus:
            return [ONE_THREAD | ({"CUDA_VISIBLE_DEVICES": ""} if self.visible else {}) for _ in range(count)]
        share = {VARIABLE: str(1 / self.runs_per_gpu)} if self.runs_per_gpu > 1 else {}
        held = [{"CUDA_VISIBLE_DEVICES": ",".join(self.held_by(worker))} for worker in range(count)]
        return [own | share | dict(self.variables) for own in held]

    def held_by(self, worker: int) -> Sequence[str]:
        first = worker % self.places * self.gpus
        return self.visible[first : first + self.gpus]

    def under_mps(self, variables: Mapping[str, str]) -> Room:
        """The same for processes of an MPS that was started here, which numbers the GPUs that we see anew."""
        visible = [str(index) if name.isdecimal() else name for index, name in enumerate(self.visible)]
        return replace(self, visible=visible, variables=variables)

    def __str__(self) -> str:
        """For a plan: "Room for 4 workers here, each with 2 processes and 2 GPUs"."""
        each = counted(self.processes, "process") + (f" and {counted(self.gpus, 'GPU')}" if self.gpus else "")
        return f"Room for {counted(self.most, 'worker')} here, each with {each}"


def room_for(runs: Iterable[Resources], runs_per_gpu: int = 1) -> Room:
    """The room of this machine for workers that can do all of these runs.

    Raises:
        NoRoom: where runs that are to share a GPU do not use just one.
    """
    visible, wanted = visible_gpus(), list(runs)
    gpus = max((one.gpus_of(len(visible)) for one in wanted), default=0)
    if runs_per_gpu > 1 and gpus != 1:
        used = f"the largest run uses {gpus}" if gpus else "the runs use none"
        raise NoRoom(f"--runs-per-gpu {runs_per_gpu}: only runs on one GPU can share it, and {used} on this machine.")
    return Room(visible, max((one.processes for one in wanted), default=1), gpus, runs_per_gpu)


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES must be for each of the GPUs that this process may use.

    Of MIG slices CUDA shows a process only the first, but each of them can be given to a worker.
    """
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if not named:
        return [str(index) for index in range(count)]
    slices = count > 0 and all(name.startswith("MIG-") for name in named)
    return named if slices else named[:count]


def counted(number: int, thing: str) -> str:
    plural = "es" if thing.endswith("s") else "s"
    return f"{number} {thing}" if number == 1 else f"{number} {thing}{plural}"
