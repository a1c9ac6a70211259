"""The report's tables on tuning: what the searches were given, and what their winners are worth on fresh seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate, estimate
from ddpo_bench.analysis.tables import Column, Row, Table
from ddpo_bench.analysis.tuning import Study

SEARCHES = [
    Column("cell", "cell", part=None),
    Column("search", "search", part=None),
    Column("trials", "trials"),
    Column("seeds", "seeds"),
    Column("images", "images a run"),
    Column("whole", "images at most"),
    Column("states", "what became of them", part=None),
    Column("importance", "importance of parameters", part=None),
]
WINNERS = [
    Column("cell", "cell", part=None),
    Column("settings", "settings", part=None),
    Column("measure", "measure", part=None),
    Column("tuned", "on the tuning seeds", digits=4),
    Column("n_tuned", "n"),
    Column("fresh", "on fresh seeds", digits=4, interval=True, scale="tuned"),
    Column("n", "n"),
    Column("lost", "lost", digits=4, scale="tuned"),
]
MEASURED: dict[str, Callable[[RunRecord], float]] = {
    "reward": lambda run: run.final,
    "kl": lambda run: run.held_out("kl_reference_nats"),
}


def searches(studies: Sequence[Study]) -> Table:
    """A row a search."""
    return Table("Tuning", SEARCHES, [search(study) for study in studies], "")


def search(study: Study) -> Row:
    images = study.images // (study.budget * len(study.seeds))
    states = Counter(trial.state for trial in study.trials)
    states["that break a constraint"] = sum(not trial.feasible for trial in study.trials if trial.values)
    shares = sorted(study.importance.items(), key=lambda share: -share[1])
    return Row(study.cell, {
        "cell": study.cell,
        "search": study.sampler + ("" if study.pruner == "none" else f", {study.pruner} pruner"),
        "trials": len(study.ended),
        "seeds": ", ".join(map(str, study.seeds)),
        "images": images,
        "whole": images * len(study.seeds) * len(study.ended),
        "states": ", ".join(f"{count} {state}" for state, count in states.items() if count),
        "importance": ", ".join(f"{named(key)} {share:.2f}" for key, share in shares) or None,
    })  # fmt: skip


def winners(studies: Sequence[Study]) -> Table:
    """A row a winner and objective."""
    return Table("Winners", WINNERS, [row for study in studies for row in winner_rows(study)], "")


def winner_rows(study: Study) -> Iterator[Row]:
    """What the search saw of its winners, and what fresh seeds say; empty where a winner was not run again."""
    for identity in study.winners:
        trial, runs = study.trial_of(identity), study.runs_of(identity)
        settings = ", ".join(f"{named(key)} {setting_text(value)}" for key, value in trial.params.items())
        for objective, tuned in zip(study.objectives, trial.values, strict=True):
            measured = [MEASURED[objective](run) for run in runs] if objective in MEASURED else []
            fresh = estimate(measured) if measured and not any(map(math.isnan, measured)) else None
            better = -1 if objective == "kl" else 1
            yield Row(f"{study.cell} {objective}", {
                "cell": study.cell,
                "settings": settings,
                "measure": {"kl": "KL (nats)"}.get(objective, objective),
                "tuned": Estimate(tuned, math.nan, math.nan),
                "n_tuned": len(trial.per_seed),
                "fresh": fresh,
                "n": len(runs),
                "lost": fresh and Estimate(better * (tuned - fresh.value), math.nan, math.nan),
            })  # fmt: skip


def named(key: str) -> str:
    return key.removeprefix("algorithm.")


def setting_text(value: Any) -> str:
    """A setting in few characters: a plugin by its name."""
    if isinstance(value, dict):
        return str(value.get("name", value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_files(studies: Sequence[Study]) -> list[str]:
    """The files of the best settings that there are, as a command names them."""
    if not studies:
        return []
    results = studies[0].path.parent.parent
    names = [*(f"best-{study.cell}.yaml" for study in studies), "best.yaml"]
    return [f"results/{results.resolve().name}/{name}" for name in names if (results / name).exists()]
