"""Reads what `ddpo-bench tune` wrote: one Study a file of results/<suite>/tuning/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddpo_bench.analysis.tuning import Parameter, Study, Trial
from ddpo_bench.checksummed import Damaged, read_checksummed_json
from ddpo_bench.quantity import Quantity
from ddpo_bench.run_folder.plan import read_plan

REMEDY = "Delete it and run ddpo-bench tune again."


def read_studies(results: Path) -> list[Study]:
    """All studies of results/<suite>, by name; empty where nothing was tuned.

    Those of an earlier plan, whose winners the present one does not have, are left out.

    Raises:
        Damaged: where a file is damaged.
    """
    planned = {cell["hash"] for cell in read_plan(results).get("cells", [])}
    studies = [read_study(path) for path in sorted(results.glob("tuning/*.json"))]
    return [study for study in studies if not planned or not study.winners or planned & set(study.winners)]


def read_study(path: Path) -> Study:
    """One study.

    Raises:
        Damaged: with the file, what is wrong in it, and the remedy.
    """
    data = read_checksummed_json(path, REMEDY)
    try:
        return parse_study(path, data)
    except KeyError as error:
        what = f"lacks {error}"
    except (TypeError, ValueError, AttributeError) as error:
        what = str(error)
    raise Damaged(f"{path}: not a tuning study ({what}). {REMEDY}")


def parse_study(path: Path, data: dict[str, Any]) -> Study:
    space = tuple(Parameter(key, unit_of(given.get("low"))) for key, given in data["space"].items())
    trials = [parse_trial(trial, space) for trial in data["trials"]]
    return Study(
        path=path,
        cell=data["cell"],
        sampler=data["sampler"],
        pruner=data["pruner"],
        objectives=tuple(data["objectives"]),
        seeds=tuple(data["seeds"]),
        report_seeds=tuple(data["report_seeds"]),
        budget=data["budget"],
        images=data.get("images"),
        space=space,
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        importance=data["importance"],
        winners=tuple(data["winners"]),
    )


def parse_trial(data: dict[str, Any], space: tuple[Parameter, ...]) -> Trial:
    params = dict(data["params"])
    for parameter in space:
        if parameter.unit and params.get(parameter.key) is not None:
            params[parameter.key] = Quantity.parse(params[parameter.key]).value
    return Trial(
        data["number"],
        data["state"],
        params,
        tuple(data["values"]),
        data["per_seed"],
        data.get("feasible", True),
        data.get("hash") or "",
    )


def unit_of(end: Any) -> str | None:
    """The unit of the end of a range, where it is a quantity with one."""
    return Quantity.parse(end).unit if isinstance(end, str) else None
