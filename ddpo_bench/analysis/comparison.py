"""Runs to the comparison table: one row an algorithm and reward, its values estimated over seeds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from ddpo_bench.analysis.budget import UNITS, Budget
from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.diagnosis.findings import diagnosis
from ddpo_bench.analysis.measures import BASELINE, FINAL, NAMED, Measure
from ddpo_bench.analysis.notes import (
    explanations,
    is_done,
    provenance,
    quantities,
    truncated_prompts,
    unfinished,
    unmeasured,
)
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate, estimate, paired_difference, probability_of_improvement
from ddpo_bench.analysis.tables import Column, Rank, Row, Table, Value
from ddpo_bench.config import trained

KEYS = [Column("algorithm", "algorithm", part=None), Column("reward", "reward", part=None)]
MEASUREMENTS = [
    Column("n", "n"),
    Column("final", "final reward", digits=4, interval=True),
    Column("difference", f"difference to {BASELINE}", digits=4, interval=True, scale="final"),
    Column("beats_baseline", f"beats {BASELINE}"),
    Column("kl_nats", "KL to pretrained", "nats", digits=3),
    Column("queries", "reward queries"),
    Column("seconds", "run time", "s", digits=3),
    Column("images_per_second", "sampling", "images/s", digits=3),
    Column("probability", f"P(> {BASELINE})", digits=3, interval=True, part="further"),
    Column("kl", "KL to pretrained", "mean units", digits=4, part="further"),
    Column("memory", "peak memory", "MB", digits=3, part="further"),
]
KL_KEYS = ("eval/kl_reference", "eval/kl_reference_nats")

DIRECTED = ("beats_baseline", "probability")
BUDGET_DIGITS = {"queries": 0, "seconds": 4, "kl": 4}

Runs = list[RunRecord]  # done runs of one cell, one a seed


def comparison(records: list[RunRecord], suite: str, measure: Measure = FINAL, budget: Budget | None = None) -> Table:
    """The comparison of all done runs; what is not done is named in a note and counts nowhere.

    Args:
        records: of one suite, as `collect` orders them.
        suite: its name.
        measure: what algorithms are compared by.
        budget: compare by the training reward at an equal budget instead.
    Raises:
        ResultsError: where a done run lacks its evaluation.
    """
    done = [record for record in records if is_done(record)]
    for run in done:
        _ = run.final  # raises
    measure = budget.measure if budget else measure
    judged = judged_columns(records)
    tasks = tasks_of([record for record in records if record.config])
    rows = [row for task in tasks for row in task_rows(records, task, judged, measure)]
    columns = [*KEYS, *measured_columns(measure), *judged]
    if budget:
        rows = [replace(row, values=row.values | {"budget": limit(budget, row.group)}) for row in rows]
        columns.insert(len(KEYS), Column("budget", "budget", UNITS[budget.kind], digits=BUDGET_DIGITS[budget.kind]))
    where = f" at {budget}" if budget else ""
    notes = [
        *explanations(rows, measure, done),
        *unmeasured(done, measure, where),
        *truncated_prompts(done),
        *diagnosis(done),
        *quantities(done),
        *unfinished(records),
        *provenance(records),
    ]
    return Table(f"{suite}: {measure.title} by algorithm{where}", columns, rows, measure.key, tuple(notes))


def measured_columns(measure: Measure) -> list[Column]:
    """MEASUREMENTS with a measure in place of the final reward; no "beats" where neither direction is better."""
    columns = []
    for column in MEASUREMENTS:
        if column.key == FINAL.key:
            columns.append(Column(measure.key, measure.title, measure.unit, digits=4, interval=True))
        elif column.key == "probability" and measure.better == "lower":
            columns.append(replace(column, title=f"P(< {BASELINE})"))
        elif column.key != measure.key and (measure.better or column.key not in DIRECTED):
            columns.append(replace(column, scale=measure.key) if column.scale else column)
    return columns


def limit(budget: Budget, task: str) -> Value:
    """A task's budget as a value of the table: images are counted, seconds and nats measured."""
    at = budget.limits.get(task)
    return None if at is None else Estimate(at, math.nan, math.nan) if BUDGET_DIGITS[budget.kind] else round(at)


def judged_columns(records: list[RunRecord]) -> list[Column]:
    """One column for every reward that the evaluation's images were scored with."""
    keys = {key for record in records for row in record.evaluated for key in row}
    judges = [key for key in sorted(keys) if re.match("eval/[^/]+$", key) and key not in (*KL_KEYS, "eval/diversity")]
    names = [key.removeprefix("eval/") for key in judges]
    return [Column(f"judged/{name}", f"judged by {name}", digits=4, part="further") for name in names]


def task_rows(records: list[RunRecord], task: str, judged: list[Column], measure: Measure) -> list[Row]:
    """The rows of one reward, the baseline first."""
    begun = cells_of([record for record in records if record.config], task)
    cells = {label: sorted(filter(is_done, runs), key=lambda run: run.seed) for label, runs in begun.items()}
    lines = []
    for label, runs in cells.items():
        keys: dict[str, Value] = {"algorithm": label, "reward": task, "n": len(runs)}
        lines.append(keys | values_of(runs, baseline_of(runs, cells), judged, measure))
    best = best_of([line[measure.key] for line in lines], measure)
    return [Row(task, line, rank(line[measure.key], best)) for line in lines]


def baseline_of(runs: Runs, cells: dict[str, Runs]) -> Runs:
    """The frozen runs that are judged as these are; how others learn is nothing to them."""
    if not runs or runs[0].algorithm == BASELINE:
        return []
    frozen = [cell for cell in cells.values() if cell and cell[0].algorithm == BASELINE]
    return next((cell for cell in frozen if judged_by(cell[0]) == judged_by(runs[0])), [])


def judged_by(record: RunRecord) -> list[object]:
    """What decides the worth of a policy that learns nothing; cells of other plugin versions are not alike."""
    decisive = trained(record.config)
    settings = [decisive.get(key) for key in ("policy", "sampler", "prompts", "reward", "evaluation")]
    return [*settings, record.varied.get("cell")]


def values_of(runs: Runs, baseline: Runs, judged: list[Column], measure: Measure) -> dict[str, Value]:
    """The values of one row; None where not measured."""
    values: dict[str, Value] = {
        "kl": over_seeds(runs, held_out("kl_reference")),
        "kl_nats": over_seeds(runs, held_out("kl_reference_nats")),
        "queries": max((int(row["queries"]) for run in runs for row in run.epochs), default=None),
        "seconds": over_seeds(runs, lambda run: run.seconds),
        "images_per_second": over_seeds(runs, NAMED["images_per_second"].of),
        "memory": over_seeds(runs, peak_memory),
    }
    values |= {c.key: over_seeds(runs, held_out(c.key.removeprefix("judged/"))) for c in judged}
    return values | {measure.key: over_seeds(runs, measure.of)} | against(runs, baseline, measure)


def against(runs: Runs, baseline: Runs, measure: Measure) -> dict[str, Value]:
    """The values that compare a cell with the baseline."""
    reached, frozen = over_seeds(runs, measure.of), over_seeds(baseline, measure.of)
    if reached is None or frozen is None:
        return {}
    ours = {run.seed: measure.of(run) for run in runs}
    theirs = {run.seed: measure.of(run) for run in baseline}
    shared = sorted(ours.keys() & theirs.keys())
    values: dict[str, Value] = {}
    if shared:
        values["difference"] = paired_difference([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
    if not measure.better:
        return values
    sides = [list(ours.values())], [list(theirs.values())]
    lower = measure.better == "lower"
    values["probability"] = probability_of_improvement(*(reversed(sides) if lower else sides))
    if reached.has_interval and frozen.has_interval:
        beats = reached.high < frozen.low if lower else reached.low > frozen.high
        values["beats_baseline"] = "yes" if beats else "no"
    return values


def over_seeds(runs: Runs, measure: Callable[[RunRecord], float]) -> Estimate | None:
    """A measurement's estimate; None without runs, or where any of them lacks it."""
    values = [measure(run) for run in runs]
    return estimated(tuple(values)) if values and not any(math.isnan(value) for value in values) else None


@lru_cache(maxsize=4096)
def estimated(values: tuple[float, ...]) -> Estimate:
    """`estimate`, once for the same values: a final reward is also one of the judged ones."""
    return estimate(values)


def held_out(measure: str) -> Callable[[RunRecord], float]:
    return lambda run: run.held_out(measure)


def peak_memory(run: RunRecord) -> float:
    """MB; NaN where it was not measured."""
    return max((row["memory_peak_mb"] for row in run.epochs if row.get("memory_peak_mb")), default=math.nan)


def best_of(values: list[Value], measure: Measure) -> list[Estimate]:
    """The best of a group, several where they are equal; none where neither direction is better."""
    found = [value for value in values if isinstance(value, Estimate)]
    if not found or not measure.better:
        return []
    best = (min if measure.better == "lower" else max)(estimate.value for estimate in found)
    return [estimate for estimate in found if estimate.value == best]


def rank(value: Value, best: list[Estimate]) -> Rank:
    """Whether a row is the best of its group, or its interval overlaps the best's."""
    if not best or not isinstance(value, Estimate):
        return ""
    return "best" if value.value == best[0].value else "tied" if any(map(value.overlaps, best)) else ""
