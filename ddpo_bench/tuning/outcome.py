"""What a suite's tuning came to: the best configurations, the record of every study, files to train from."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from ddpo_bench.analysis.statistics import iqm
from ddpo_bench.checksummed import write_checksummed_json
from ddpo_bench.files import plain_yaml, write_text
from ddpo_bench.run_folder.metrics import final_reward
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.plan import planned
from ddpo_bench.sweep.suite import Cell, Suite
from ddpo_bench.tuning.searching import values_of
from ddpo_bench.tuning.studies import FOLDER, Slot, Studies, is_feasible, state_of

FEWEST_FOR_IMPORTANCE = 4  # complete trials


def winners(studies: Studies, name: str) -> list[FrozenTrial]:
    """The `top` configurations of a study, best first; fewer where fewer came through and met the constraints.

    With two objectives: from the Pareto front, evenly spaced from its highest reward to its lowest KL.
    """
    found: dict[str, FrozenTrial] = {}  # two trials of one configuration are the same runs
    for trial in sorted(studies.latest(name).values(), key=lambda trial: trial.number):
        if trial.state == TrialState.COMPLETE and is_feasible(trial):
            found.setdefault(trial.user_attrs["hash"], trial)
    ranked = sorted(found.values(), key=lambda trial: -trial.values[0])
    if len(studies.tune.objectives) == 1:
        return ranked[: studies.tune.top]
    front = [trial for i, trial in enumerate(ranked) if all(trial.values[1] < other.values[1] for other in ranked[:i])]
    spots = np.linspace(0, len(front) - 1, min(studies.tune.top, len(front)))
    return [front[round(spot)] for spot in spots]


def swept(studies: Studies) -> Suite:
    """The suite with the winners in place of the cells that were tuned."""
    cells: list[Cell] = []
    names = {cell.hash: name for name, cell in studies.cells.items()}
    for cell in studies.suite.cells:
        if cell.hash not in names:
            cells.append(cell)
            continue
        for trial in winners(studies, names[cell.hash]):
            cells.append(studies.suite.changed(cell, values_of(trial.params, cell.space)))
    return replace(studies.suite, cells=cells)


def without_winner(studies: Studies) -> list[str]:
    """A line for every study of which nothing can be reported."""
    lines = []
    for name, cell in studies.cells.items():
        if not winners(studies, name):
            states = Counter(
                "infeasible" if state_of(trial) == "complete" else state_of(trial)
                for trial in studies.latest(name).values()
            )
            told = ", ".join(f"{count} {state}" for state, count in states.items())
            lines.append(f"{cell.name}: no configuration succeeded ({told}); see {record_file(studies, cell)}")
    return lines


def write_records(studies: Studies) -> None:
    """Write down every study, for reading and for the report: tuning/<cell>.json."""
    for name, cell in studies.cells.items():
        write_checksummed_json(record_file(studies, cell), record(studies, name))


def record(studies: Studies, name: str) -> dict[str, Any]:
    cell, tune = studies.cells[name], studies.tune
    return {
        "cell": label(studies, cell),
        "study": name,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "objectives": tune.objectives,
        "seeds": tune.seeds,
        "report_seeds": studies.suite.seeds,
        "budget": tune.trials,
        "images": cell.config.epochs * cell.config.samples_per_epoch * len(tune.seeds) * tune.trials,
        "space": {key: dimension.to_dict() for key, dimension in cell.space.items()},
        "trials": [trial_record(slot, trial) for slot, trial in studies.latest(name).items()],
        "importance": importance(studies.studies[name]),
        "winners": [trial.user_attrs["hash"] for trial in winners(studies, name)],
    }


def trial_record(slot: Slot, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": slot.number,
        "state": state_of(trial),
        "params": values_of(trial.params, slot.cell.space),
        "values": trial.values if trial.state == TrialState.COMPLETE else [],
        "per_seed": trial.user_attrs.get("per_seed", {}),
        "constraints": dict(trial.constraints),
        "feasible": is_feasible(trial),
        "seconds": round(sum(read_status(folder).get("seconds", 0.0) for folder in slot.run_folders(trial)), 3),
        "reason": trial.user_attrs.get("reason"),
        "hash": trial.user_attrs.get("hash"),
    }


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what makes the best tenth of the trials best (PED-ANOVA, Watanabe et al. 2023).

    Empty where there are too few complete trials to say.
    """
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < FEWEST_FOR_IMPORTANCE or len({trial.values[0] for trial in complete}) < 2:
        return {}
    target = None if len(study.directions) == 1 else negative_reward  # the evaluator asks what makes a target low
    with warnings.catch_warnings(action="ignore"):  # it says so each time
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=target)
    return {key: float(share) for key, share in found.items() if math.isfinite(share)}


def negative_reward(trial: FrozenTrial) -> float:
    return -trial.values[0]


def write_best(studies: Studies, suite: Suite) -> list[Path]:
    """Write the winner of every study as a file for `ddpo-bench train`; returns the files.

    Of several winners the one that was best on the suite's own seeds.

    Args:
        suite: `swept(studies)`, whose runs are done.
    """
    files = []
    for name, cell in studies.cells.items():
        mine = {trial.user_attrs["hash"] for trial in winners(studies, name)}
        rewards = {one.hash: final_rewards(one, suite, studies.root) for one in suite.cells if one.hash in mine}
        judged = {identity: values for identity, values in rewards.items() if values}
        if not judged:
            continue
        best = next(one for one in suite.cells if one.hash == max(judged, key=lambda key: float(iqm(judged[key]))))
        file = studies.root / ("best.yaml" if len(studies.cells) == 1 else f"best-{label(studies, cell)}.yaml")
        value, n = float(iqm(judged[best.hash])), len(judged[best.hash])
        head = f"# {cell.name}, best of {studies.tune.trials} trials: final reward {value:.4g} on {n} fresh seeds.\n"
        config = {key: part for key, part in best.config.to_dict().items() if key != "seed"}
        write_text(file, f"{head}#\n#   ddpo-bench train {file.name}\n{plain_yaml(config)}")
        files.append(file)
    return files


def final_rewards(cell: Cell, suite: Suite, root: Path) -> list[float]:
    """Of the runs of a cell that are done."""
    runs = [planned(cell, seed) for seed in suite.seeds]
    rewards = [
        final_reward(root / run.folder, run.config.reward.label)
        for run in runs
        if read_status(root / run.folder)["state"] == "done"
    ]
    return [reward for reward in rewards if reward is not None]


def record_file(studies: Studies, cell: Cell) -> Path:
    return studies.root / FOLDER / f"{label(studies, cell)}.json"


def label(studies: Studies, cell: Cell) -> str:
    """A cell's name, with its hash where another tuned cell has the same name."""
    same = [other for other in studies.cells.values() if other.name == cell.name]
    return cell.name if len(same) == 1 else f"{cell.name}-{cell.hash}"
