"""Reads what `ddpo-bench tune` wrote: one Study a file of results/<suite>/tuning/."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.tuning import STATES, Parameter, Study, Trial
from ddpo_bench.quantity import Quantity
from ddpo_bench.run_folder.places import ResultsError
from ddpo_bench.run_folder.plan import read_plan


def read_studies(results: Path) -> list[Study]:
    """All studies of results/<suite>, by name; empty where nothing was tuned.

    Those of an earlier plan, whose winners the present one does not have, are left out.

    Raises:
        ResultsError, Damaged: where a file is damaged.
    """
    planned = {cell["hash"] for cell in read_plan(results).get("cells", [])}
    studies = [read_study(path) for path in sorted(results.glob("tuning/*.json"))]
    return [study for study in studies if not planned or not study.winners or planned & set(study.winners)]


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
    ends, log = [Quantity.parse(given[end]) for end in ("low", "high")], bool(given.get("log", False))
    low, high = (end.value for end in ends)
    if not low < high or (log and low <= 0):
        raise ValueError(f"{key}: no range from {low:g} to {high:g}{' on a log scale' if log else ''}")
    return Parameter(key, low, high, log, unit=ends[0].unit if isinstance(given["low"], str) else None)


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
        if parameter.unit and value is not None:
            params[parameter.key] = value = Quantity.parse(value).value
        if parameter.choices and parameter.key in params and value not in parameter.choices:
            raise ValueError(f"trial {number}: {parameter.key} = {value!r} is none of its choices")
        if not parameter.choices and value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"trial {number}: {parameter.key} = {value!r} is no number")
    per_seed = {str(seed): float(value) for seed, value in data["per_seed"].items()}
    feasible = bool(data.get("feasible", True))
    return Trial(number, state, params, values, per_seed, feasible, str(data.get("hash") or ""))
