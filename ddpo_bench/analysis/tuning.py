"""A search for settings as it is reported: its space, its trials, and which of them won."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.records import RunRecord, read_run

STATES = ("complete", "pruned", "failed", "running", "waiting")
LOWER_IS_BETTER = ("kl",)  # of the objectives; the others are rewards
Setting = Any  # what a configuration file can hold
ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Parameter:
    """One searched key; `unit` is that of its quantity, where it has one."""

    key: str
    unit: str | None = None

    @property
    def name(self) -> str:
        return self.key.removeprefix("algorithm.")

    def text(self, value: Setting) -> str:
        """A value with its unit."""
        return setting_text(value) + (f" {self.unit}" if self.unit and value is not None else "")


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Attributes:
        state: one of STATES.
        values: one an objective; empty where the trial is not complete.
        per_seed: seed to the first objective, of the seeds that were run.
        feasible: whether it met all constraints.
    """

    number: int
    state: str
    params: dict[str, Setting]
    values: tuple[float, ...]
    per_seed: dict[str, float]
    feasible: bool
    hash: str

    @property
    def counts(self) -> bool:
        """Whether it can be the best one."""
        return self.state == "complete" and self.feasible


@dataclass(frozen=True)
class Study:
    """The search for one cell's settings.

    Attributes:
        path: its file.
        budget: trials planned.
        images: scored by all planned trials together, where none is broken off early; None where not recorded.
        seeds, report_seeds: what trials were run on, and what winners were run on again.
        winners: hashes of the configurations that were run again, best first.
    """

    path: Path
    cell: str
    sampler: str
    pruner: str
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    budget: int
    images: int | None
    space: tuple[Parameter, ...]
    trials: tuple[Trial, ...]
    importance: dict[str, float]
    winners: tuple[str, ...]

    @property
    def ended(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state in ENDED]

    @property
    def complete(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def best(self) -> list[Trial]:
        """The best trial that counts; of two objectives those that no other betters in both, by the second one."""
        found = [trial for trial in self.trials if trial.counts]
        if len(self.objectives) == 1:
            return sorted(found, key=self.gains)[-1:]
        front = [trial for trial in found if not any(dominates(self.gains(x), self.gains(trial)) for x in found)]
        return sorted(front, key=lambda trial: trial.values[1])

    def gains(self, trial: Trial) -> tuple[float, ...]:
        """Its values with the sign by which more is better."""
        return tuple(sign(name) * value for name, value in zip(self.objectives, trial.values, strict=True))

    def trial_of(self, identity: str) -> Trial:
        return next(trial for trial in self.trials if trial.hash == identity)

    def runs_of(self, identity: str) -> list[RunRecord]:
        """The done runs of a configuration on the seeds that are reported."""
        folders = [
            folder
            for seed in self.report_seeds
            for folder in self.path.parent.parent.glob(f"runs/*-{identity}/seed-{seed}")
        ]
        return [run for run in map(read_run, folders) if run.status == "done"]


def setting_text(value: Setting) -> str:
    """A setting in few characters: a plugin by its name."""
    if isinstance(value, dict):
        return str(value.get("name", value))
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)


def sign(objective: str) -> int:
    """1 where more is better, -1 where less is."""
    return -1 if objective in LOWER_IS_BETTER else 1


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether a is at least as good as b in everything, and better in something."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))
