"""How long a sweep still takes, from what its epochs took so far."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes:
        cell: runs of one cell take about the same time an epoch.
        epoch, epochs: finished, planned.
        seconds: that the finished ones took.
        since: seconds since the last of them, or since the start; 0 where nobody works on it.
    """

    cell: str
    epoch: int
    epochs: int
    seconds: float = 0.0
    since: float = 0.0


def seconds_left(runs: Sequence[RunProgress], workers: int) -> float | None:
    """Until the last of these runs is done; None where no epoch has been finished yet that could tell.

    A cell without a finished epoch is taken to be as quick as the median cell.

    Args:
        runs: runs that are worked on come before those that wait, in the order of the plan.
    """
    known = paces(runs)
    if not known:
        return None
    usual = median(known.values())
    return makespan(
        [max(0.0, known.get(run.cell, usual) * (run.epochs - run.epoch) - run.since) for run in runs], workers
    )


def paces(runs: Iterable[RunProgress]) -> dict[str, float]:
    """Seconds an epoch of each cell, the median of its runs that have finished one."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.epoch and run.seconds:
            found[run.cell].append(run.seconds / run.epoch)
    return {cell: median(several) for cell, several in found.items()}


def makespan(loads: Iterable[float], workers: int) -> float:
    """Until all loads are done where each goes, in their order, to the worker that is free first."""
    free = [0.0] * max(1, workers)
    for load in loads:
        heapq.heapreplace(free, free[0] + load)
    return max(free)


def duration(seconds: float) -> str:
    """A time in two units at most, for people: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def size(count: float) -> str:
    """Bytes for people, in powers of 1000: "512 B", "3.2 MB"."""
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if count < 999.5:
            break
        count, unit = count / 1000, larger
    return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"
