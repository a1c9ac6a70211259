"""From a suite to its runs: which there are, where each lives, which are still to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.registry import unknown
from ddpo_bench.run_folder.places import run_folder
from ddpo_bench.sweep.suite import Cell, Suite


@dataclass(frozen=True)
class PlannedRun:
    """One cell with one seed."""

    cell: str
    config: RunConfig
    folder: Path  # below the suite's results folder

    @property
    def name(self) -> str:
        return f"{self.cell}/seed-{self.config.seed}"

    @property
    def images(self) -> int:
        """Images sampled to learn from, each one reward query."""
        return self.config.epochs * self.config.samples_per_epoch


def runs_of(suite: Suite) -> list[PlannedRun]:
    """All runs of a suite, every cell's first seed before any second one, so that a part of a sweep compares fairly."""
    return [planned(cell, seed) for seed in suite.seeds for cell in suite.cells]


def planned(cell: Cell, seed: int) -> PlannedRun:
    """The run of a cell with one seed."""
    return PlannedRun(cell.name, replace(cell.config, seed=seed), run_folder(cell.name, cell.hash, seed))


def select(runs: Sequence[PlannedRun], glob: str) -> list[PlannedRun]:
    """The runs whose cell, or cell/seed-k, matches a shell pattern.

    Raises:
        ConfigError: where none does.
    """
    chosen = [run for run in runs if fnmatchcase(run.cell, glob) or fnmatchcase(run.name, glob)]
    if not chosen:
        raise ConfigError([f"--only {glob}: {unknown('cell', glob, {run.cell for run in runs})}"])
    return chosen
