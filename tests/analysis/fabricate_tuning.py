"""Synthetic studies: tuning/<cell>.json and best-<cell>.yaml for cells of a fabricated suite."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

SPACE = {
    "algorithm.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    "algorithm.passes": {"choices": [1, 2]},
    "algorithm.clip_range": {"low": "0 nats", "high": "10 nats", "log": False},
}
IMPORTANCE = {"algorithm.learning_rate": 0.8, "algorithm.clip_range": 0.15, "algorithm.passes": 0.05}
TRIALS, BEST, INFEASIBLE, PRUNED, FAILED = 8, 5, 6, 2, 3


def fabricate_tuning(suite: Path, trials: int = TRIALS, objectives: tuple[str, ...] = ("reward",)) -> list[Path]:
    """A study of every cell of the suite but `frozen`; its best trial is that cell's configuration.

    Trial k has value k / 10 below the best; one that breaks a constraint is higher, one was pruned and one failed.
    """
    cells = sorted(path.name for path in (suite / "runs").iterdir() if not path.name.startswith("frozen"))
    return [fabricate_study(suite, cell[:-13], cell[-12:], trials, objectives) for cell in cells]


def fabricate_study(suite: Path, cell: str, identity: str, trials: int, objectives: tuple[str, ...]) -> Path:
    study = {
        "cell": cell,
        "sampler": "tpe",
        "pruner": "none",
        "objectives": list(objectives),
        "seeds": [100, 101],
        "report_seeds": [0, 1, 2],
        "budget": trials,
        "images": trials * 2 * 192,
        "space": SPACE,
        "trials": [trial(number, identity, objectives) for number in range(trials)],
        "importance": IMPORTANCE,
        "winners": [identity],
    }
    path = suite / "tuning" / f"{cell}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(study))
    (suite / f"best-{cell}.yaml").write_text("algorithm: {name: ppo}\n")
    return path


def trial(number: int, identity: str, objectives: tuple[str, ...]) -> dict[str, Any]:
    state = {PRUNED: "pruned", FAILED: "failed"}.get(number, "complete")
    value = 0.4 if number == INFEASIBLE else 0.3 - abs(number - BEST) / 10
    values = [value, 100.0 * (1 + number)][: len(objectives)]
    return {
        "number": number,
        "state": state,
        "params": {
            "algorithm.learning_rate": 10 ** (-5 + 2 * number / TRIALS),
            "algorithm.passes": 1 + number % 2,
            "algorithm.clip_range": f"{10 * math.sin(number) ** 2:.3g} nats",
        },
        "values": values if state == "complete" else [],
        "per_seed": {"100": value - 0.01, "101": value + 0.01} if state == "complete" else {},
        "constraints": {"kl": 10.0 if number == INFEASIBLE else -10.0},
        "feasible": number != INFEASIBLE,
        "seconds": 61.2,
        "reason": "the reward returned NaN" if state == "failed" else None,
        "hash": identity if number == BEST else f"{number:012x}",
    }
