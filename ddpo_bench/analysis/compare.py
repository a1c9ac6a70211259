"""Two results folders, the old A and the new B, run by run: what became better, what worse, what cannot be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.measures import Measure, find_measure
from ddpo_bench.analysis.notes import few_seeds, is_done, provenance, unfinished
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate, estimate, paired_difference
from ddpo_bench.analysis.tables import Column, Row, Table, Value
from ddpo_bench.analysis.varied import flatten
from ddpo_bench.run_folder.places import ResultsError

Verdict = Literal["better", "worse", "same", "undecided"]
Cell = tuple[str, str]  # task, label
Runs = dict[int, RunRecord]  # done runs of one cell by seed
SEEN = 3  # differing settings that a note shows


class Comparison(NamedTuple):
    """What `ddpo-bench compare` prints, and whether any cell is worse."""

    table: Table
    regressed: bool


def compare(a: Path, b: Path, metric: str = "final", min_effect: float | None = None) -> Comparison:
    """Compare the done runs of two results folders, paired by cell and seed.

    Args:
        a, b: results/<suite>, the old and the new one.
        metric: what `find_measure` knows.
        min_effect: a smaller difference is neither better nor worse.  Without it any difference whose interval
            excludes 0 counts, and one of a single seed never.
    Raises:
        ResultsError, ConfigError: where a folder has no runs, nothing is in both, or the metric is not.
    """
    old, new = collect(a), collect(b)
    measure = measure_of_both(metric, old, new)
    ours, theirs = by_seed(old), by_seed(new)
    shared = [cell for cell in ours if cell in theirs and ours[cell].keys() & theirs[cell].keys()]
    if not shared:
        raise ResultsError(nothing_shared(a, b, ours, theirs))
    rows = [row(cell, ours[cell], theirs[cell], measure, min_effect) for cell in shared]
    pairs = {int(str(row.values["n"])) for row in rows}
    if pairs == {0}:
        raise ResultsError(f"No run that {a} and {b} share has `{measure.key}` on both sides.")
    notes = [
        legend(measure, [*old, *new], min_effect),
        *few_seeds(pairs),
        *alone("A", ours, theirs),
        *alone("B", theirs, ours),
        *unmeasured("A", ours, shared, measure),
        *unmeasured("B", theirs, shared, measure),
        *other_settings(ours, theirs, shared),
        *side("A", a, old),
        *side("B", b, new),
    ]
    table = Table(f"{a} (A) to {b} (B): {measure.title}", columns(measure), rows, "", tuple(notes))
    return Comparison(table, any(row.values["verdict"] == "worse" for row in rows))


def measure_of_both(metric: str, old: list[RunRecord], new: list[RunRecord]) -> Measure:
    """The measure; both sides must have it, and one of its directions must be better."""
    find_measure(metric, old)
    measure = find_measure(metric, new)
    if not measure.better:
        raise ResultsError(f"--metric {metric}: neither direction of it is better, so it cannot be judged.")
    return measure


def by_seed(records: list[RunRecord]) -> dict[Cell, Runs]:
    """The done runs by cell and seed."""
    done = [record for record in records if is_done(record)]
    return {
        (task, label): {run.seed: run for run in runs}
        for task in tasks_of(done)
        for label, runs in cells_of(done, task).items()
    }


def row(cell: Cell, ours: Runs, theirs: Runs, measure: Measure, min_effect: float | None) -> Row:
    """A cell's values over the seeds that both sides measured."""
    both = sorted(ours.keys() & theirs.keys())
    pairs = [(measure.of(ours[seed]), measure.of(theirs[seed])) for seed in both]
    pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
    task, label = cell
    values: dict[str, Value] = {"algorithm": label, "reward": task, "n": len(pairs), "verdict": "undecided"}
    if not pairs:
        return Row(task, values)
    old, new = zip(*pairs, strict=True)
    difference = paired_difference(new, old)
    decided = verdict(difference, measure.better == "lower", min_effect)
    return Row(task, values | {"a": estimate(old), "b": estimate(new), "difference": difference, "verdict": decided})


def verdict(difference: Estimate, lower_is_better: bool, min_effect: float | None) -> Verdict:
    """Better or worse where the interval excludes 0 and the difference is large enough; same where it lies within.

    A single seed has no interval: the smallest effect alone decides, where the user gave one.
    """
    least = min_effect or 0.0
    value, low, high = difference
    if not difference.has_interval:
        if min_effect is None:
            return "undecided"
        low = high = value
    if (low > 0 or high < 0) and abs(value) >= least:
        return "better" if (value > 0) != lower_is_better else "worse"
    within = -least < low and high < least
    return "same" if within or low == high == 0 else "undecided"


def columns(measure: Measure) -> list[Column]:
    return [
        Column("algorithm", "algorithm", part=None),
        Column("reward", "reward", part=None),
        Column("n", "pairs"),
        Column("a", "A", measure.unit, digits=4, interval=True),
        Column("b", "B", measure.unit, digits=4, interval=True, scale="a"),
        Column("difference", "B - A", measure.unit, digits=4, interval=True, scale="a"),
        Column("verdict", "verdict"),
    ]


def legend(measure: Measure, records: list[RunRecord], min_effect: float | None) -> str:
    """What is compared, and what the verdicts mean."""
    large = f" and it is at least {min_effect:g}" if min_effect else ""
    single = "the difference itself decides" if min_effect is not None else "nothing is decided without --min-effect"
    same = f"within ±{min_effect:g}" if min_effect else "0"
    return (
        f"`{measure.key}`: {measure.meaning_for(records)}; {measure.direction}. "
        f"B - A is paired seed by seed, with its 95 % bootstrap interval. "
        f"Better, worse: the interval excludes 0{large}; same: the whole interval is {same}; "
        f"undecided: all else. With one pair there is no interval, and {single}."
    )


def alone(name: str, ours: Mapping[Cell, Runs], theirs: Mapping[Cell, Runs]) -> list[str]:
    """One note that names the cells and seeds of a side whose like is not done on the other."""
    named = []
    for cell, runs in ours.items():
        task, label = cell
        if seeds := runs.keys() - theirs.get(cell, {}).keys():
            named.append(f"{label} on {task} seed {ranges(seeds)}")
    return [f"Done only in {name}, and left out: {'; '.join(named)}."] if named else []


def unmeasured(name: str, cells: Mapping[Cell, Runs], shared: list[Cell], measure: Measure) -> list[str]:
    """One note that names the runs of a side that lack the measure."""
    lacking = [
        f"{label} on {task} seed {seed}"
        for task, label in shared
        for seed, run in sorted(cells[task, label].items())
        if math.isnan(measure.of(run))
    ]
    return [f"No `{measure.key}` in {name}, and left out: {'; '.join(lacking)}."] if lacking else []


def other_settings(ours: Mapping[Cell, Runs], theirs: Mapping[Cell, Runs], shared: list[Cell]) -> list[str]:
    """One note that names cells whose configuration is not the same in A and B."""
    changes: dict[str, list[str]] = {}
    for cell in shared:
        old, new = (flatten(next(iter(side[cell].values())).config) for side in (ours, theirs))
        keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        more = [f"{len(keys) - SEEN} more"] if len(keys) > SEEN else []
        shown = [f"{key} {old.get(key)} to {new.get(key)}" for key in keys[:SEEN]]
        if keys:
            changes.setdefault(", ".join([*shown, *more]), []).append(f"{cell[1]} on {cell[0]}")
    named = [f"{' and '.join(cells)}: {what}" for what, cells in changes.items()]
    return [f"Settings that differ from A to B: {'; '.join(named)}."] if named else []


def side(name: str, folder: Path, records: list[RunRecord]) -> list[str]:
    """What a side is: its folder, runs, machine, versions and commit, and what is not done in it."""
    what = [f"{name} is `{folder}`: {line}" for line in provenance(records)]
    return [*what, *(f"{name}: {line[0].lower()}{line[1:]}" for line in unfinished(records))]


def nothing_shared(a: Path, b: Path, ours: Mapping[Cell, Runs], theirs: Mapping[Cell, Runs]) -> str:
    """One line on two folders without a pair of runs."""
    held = [
        ", ".join(f"{label} on {task} seed {ranges(runs)}" for (task, label), runs in cells.items())
        for cells in (ours, theirs)
    ]
    return f"{a} and {b} have no done run in common. In {a}: {held[0] or 'none'}. In {b}: {held[1] or 'none'}."


def ranges(seeds: Iterable[int]) -> str:
    """Numbers in order, three and more neighbours as a range: "0 to 4, 7, 8"."""
    places = enumerate(sorted(seeds))
    groups = [[seed for _, seed in group] for _, group in groupby(places, lambda place: place[1] - place[0])]
    return ", ".join(f"{group[0]} to {group[-1]}" if len(group) > 2 else str(group)[1:-1] for group in groups)
