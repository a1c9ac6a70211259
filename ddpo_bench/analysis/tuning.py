"""Reads what `ddpo-bench tune` wrote: one Study a file of results/<suite>/tuning/."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.collect import ResultsError, RunRecord, read_run

STATES = ("complete", "pruned", "failed", "running", "waiting")
LOWER_IS_BETTER = ("kl",)  # of the objectives; the others are rewards
Setting = Any  # what a configuration file can hold
ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Parameter:
    """One searched key: a range, or choices."""

    key: str
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    choices: tuple[Setting, ...] = ()

    @property
    def name(self) -> str:
        return self.key.removeprefix("algorithm.")


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


def read_studies(results: Path) -> list[Study]:
    """All studies of results/<suite>, by name; empty where nothing was tuned.

    Raises:
        ResultsError: where a file is damaged.
    """
    return [read_study(path) for path in sorted(results.glob("tuning/*.json"))]


def read_study(path: Path) -> Study:
    """One study.

    Raises:
        ResultsError: with the file, what is wrong in it, and the remedy.
    """
    try:
        return parse_study(path, json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError):
        what = "not valid JSON"
    except KeyError as error:
        what = f"lacks {error}"
    except (TypeError, ValueError, AttributeError) as error:
        what = str(error)
    raise ResultsError(f"{path}: not a tuning study ({what}). Delete it and run ddpo-bench tune again.")


def parse_study(path: Path, data: dict[str, Any]) -> Study:
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    objectives = tuple(map(str, data["objectives"]))
    if len(objectives) not in (1, 2):
        raise ValueError(f"one or two objectives, not {len(objectives)}")
    seeds, budget = tuple(map(int, data["seeds"])), int(data["budget"])
    if not seeds or budget < 1:
        raise ValueError(f"{budget} trials on {len(seeds)} seeds are no search")
    space = tuple(parse_parameter(key, given) for key, given in data["space"].items())
    trials = tuple(parse_trial(trial, space, objectives) for trial in data["trials"])
    winners = tuple(map(str, data["winners"]))
    lost = [winner for winner in winners if winner not in {trial.hash for trial in trials if trial.state == "complete"}]
    if lost:
        raise ValueError(f"the winner {lost[0]} is no complete trial")
    return Study(
        path=path,
        cell=str(data["cell"]),
        sampler=str(data["sampler"]),
        pruner=str(data["pruner"]),
        objectives=objectives,
        seeds=seeds,
        report_seeds=tuple(map(int, data["report_seeds"])),
        budget=budget,
        images=None if data.get("images") is None else int(data["images"]),
        space=space,
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        importance={str(key): float(value) for key, value in data["importance"].items()},
        winners=winners,
    )


def parse_parameter(key: str, given: dict[str, Any]) -> Parameter:
    if "choices" in given:
        return Parameter(key, choices=tuple(given["choices"]))
    low, high, log = float(given["low"]), float(given["high"]), bool(given.get("log", False))
    if not low < high or (log and low <= 0):
        raise ValueError(f"{key}: no range from {low:g} to {high:g}{' on a log scale' if log else ''}")
    return Parameter(key, low, high, log)


def parse_trial(data: dict[str, Any], space: tuple[Parameter, ...], objectives: tuple[str, ...]) -> Trial:
    number, state, params = int(data["number"]), str(data["state"]), dict(data["params"])
    values = tuple(map(float, data["values"]))
    if state not in STATES:
        raise ValueError(f"trial {number}: state {state!r} is none of {', '.join(STATES)}")
    if state == "complete" and len(values) != len(objectives):
        raise ValueError(f"trial {number}: complete with {len(values)} values for {len(objectives)} objectives")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"trial {number}: the values {values} are not all finite")
    for parameter in space:
        value = params.get(parameter.key)
        if parameter.choices and parameter.key in params and value not in parameter.choices:
            raise ValueError(f"trial {number}: {parameter.key} = {value!r} is none of its choices")
        if not parameter.choices and value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"trial {number}: {parameter.key} = {value!r} is no number")
    per_seed = {str(seed): float(value) for seed, value in data["per_seed"].items()}
    feasible = bool(data.get("feasible", True))
    return Trial(number, state, params, values, per_seed, feasible, str(data.get("hash") or ""))
