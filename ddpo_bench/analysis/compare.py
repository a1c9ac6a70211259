"""Two results folders, the old A and the new B, run by run: what became better, what worse, what cannot be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain, groupby
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
Key = tuple[str, str, int]  # task, label, seed
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
    ours, theirs = by_key(old), by_key(new)
    shared = [key for key in ours if key in theirs]
    if not shared:
        held = [f"In {folder}: {'; '.join(named(runs)) or 'none'}." for folder, runs in ((a, ours), (b, theirs))]
        raise ResultsError(f"{a} and {b} have no done run in common. {' '.join(held)}")
    unmeasured = [[key for key in shared if math.isnan(measure.of(side[key]))] for side in (ours, theirs)]
    pairs: dict[Cell, list[tuple[float, float]]] = {(task, label): [] for task, label, _ in shared}
    for task, label, seed in shared:
        if (task, label, seed) not in chain(*unmeasured):
            pair = measure.of(ours[task, label, seed]), measure.of(theirs[task, label, seed])
            pairs[task, label].append(pair)
    if not any(pairs.values()):
        raise ResultsError(f"No run that {a} and {b} share has `{measure.key}` on both sides.")
    rows = [row(cell, several, measure, min_effect) for cell, several in pairs.items()]
    notes = [
        legend(measure, [*old, *new], min_effect),
        *few_seeds({len(several) for several in pairs.values()}),
        *left_out("Done only in A", ours.keys() - theirs),
        *left_out("Done only in B", theirs.keys() - ours),
        *left_out(f"No `{measure.key}` in A", unmeasured[0]),
        *left_out(f"No `{measure.key}` in B", unmeasured[1]),
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


def by_key(records: list[RunRecord]) -> dict[Key, RunRecord]:
    """The done runs, cell by cell, the baseline's first."""
    done = [record for record in records if is_done(record)]
    cells = [runs for task in tasks_of(done) for runs in cells_of(done, task).values()]
    return {(run.task, run.label, run.seed): run for run in chain(*cells)}


def row(cell: Cell, pairs: list[tuple[float, float]], measure: Measure, min_effect: float | None) -> Row:
    """A cell's values over the seeds that both sides measured."""
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


def left_out(why: str, keys: Iterable[Key]) -> list[str]:
    """One note that names runs; none where there are none."""
    return [f"{why}, and left out: {'; '.join(runs)}."] if (runs := named(keys)) else []


def named(keys: Iterable[Key]) -> list[str]:
    """Runs in words, the seeds of a cell together: "ppo on target_colour seed 0 to 2"."""
    seeds: dict[str, list[int]] = {}
    for task, label, seed in sorted(keys):
        seeds.setdefault(f"{label} on {task}", []).append(seed)
    return [f"{cell} seed {ranges(several)}" for cell, several in seeds.items()]


def other_settings(ours: Mapping[Key, RunRecord], theirs: Mapping[Key, RunRecord], shared: list[Key]) -> list[str]:
    """One note that names cells whose configuration is not the same in A and B."""
    changes: dict[str, list[str]] = {}
    for (task, label), (key, *_) in groupby(shared, lambda key: key[:2]):
        old, new = (flatten(side[key].config) for side in (ours, theirs))
        keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        more = [f"{len(keys) - SEEN} more"] if len(keys) > SEEN else []
        shown = [f"{key} {old.get(key)} to {new.get(key)}" for key in keys[:SEEN]]
        if keys:
            changes.setdefault(", ".join([*shown, *more]), []).append(f"{label} on {task}")
    told = [f"{' and '.join(cells)}: {what}" for what, cells in changes.items()]
    return [f"Settings that differ from A to B: {'; '.join(told)}."] if told else []


def side(name: str, folder: Path, records: list[RunRecord]) -> list[str]:
    """What a side is: its folder, runs, machine, versions and commit, and what is not done in it."""
    what = [f"{name} is `{folder}`: {line}" for line in provenance(records)]
    return [*what, *(f"{name}: {line[0].lower()}{line[1:]}" for line in unfinished(records))]


def ranges(seeds: Iterable[int]) -> str:
    """Numbers in order, three and more neighbours as a range: "0 to 4, 7, 8"."""
    places = enumerate(sorted(seeds))
    groups = [[seed for _, seed in group] for _, group in groupby(places, lambda place: place[1] - place[0])]
    return ", ".join(f"{group[0]} to {group[-1]}" if len(group) > 2 else str(group)[1:-1] for group in groups)
