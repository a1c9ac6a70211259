"""Runs to the comparison table: one row an algorithm and reward, its figures estimated over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import pandas as pd

from ddpo_bench.analysis.collect import RunRecord
from ddpo_bench.analysis.statistics import Estimate, estimate, paired_difference, probability_of_improvement
from ddpo_bench.analysis.tables import TIED, Column, Row, Standing, Table, Value

BASELINE = "frozen"
KEYS = [Column("algorithm", "algorithm", part=None), Column("reward", "reward", part=None)]
FIGURES = [
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
PROVENANCE = {
    "processor": "{}",
    "threads": "threads a run: {}",
    "precision": "{}",
    "torch": "torch {}",
    "ddpo_bench": "ddpo-bench {}",
    "git_commit": "commit {}",
}
KL_KEYS = ("eval/kl_reference", "eval/kl_reference_nats")

Runs = list[RunRecord]  # done runs of one cell, one a seed


def comparison(records: list[RunRecord], suite: str) -> Table:
    """The comparison of all done runs; what is not done is named in a note and counts nowhere.

    Args:
        records: of one suite, as `collect` orders them.
        suite: its name.
    Raises:
        ResultsError: where a done run lacks its held-out evaluation.
    """
    judged = judged_columns(records)
    tasks = dict.fromkeys(record.task for record in records if record.config)
    rows = [row for task in tasks for row in task_rows(records, task, judged)]
    notes = [*explanations(rows), *unfinished(records), *provenance(records)]
    return Table(f"{suite}: final reward by algorithm", [*KEYS, *FIGURES, *judged], rows, "final", tuple(notes))


def is_done(record: RunRecord) -> bool:
    return record.status == "done"


def judged_columns(records: list[RunRecord]) -> list[Column]:
    """One column for every reward that the held-out images were scored with."""
    keys = {str(key) for record in records for key in record.evaluations}
    names = [key.removeprefix("eval/") for key in sorted(keys) if key.startswith("eval/") and key not in KL_KEYS]
    return [Column(f"judged/{name}", f"judged by {name}", digits=4, part="further") for name in names]


def task_rows(records: list[RunRecord], task: str, judged: list[Column]) -> list[Row]:
    """The rows of one reward, the baseline first."""
    cells: dict[str, Runs] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.algorithm != BASELINE):
        if record.config and record.task == task:
            cells[record.label] += [record] if is_done(record) else []
    lines = []
    for label, runs in cells.items():
        keys: dict[str, Value] = {"algorithm": label, "reward": task, "n": len(runs)}
        lines.append(keys | figures(runs, baseline_of(runs, cells), judged))
    best = max((line["final"] for line in lines if isinstance(line["final"], Estimate)), default=None)
    return [Row(task, line, standing(line["final"], best)) for line in lines]


def baseline_of(runs: Runs, cells: dict[str, Runs]) -> Runs:
    """The frozen runs at the same settings but for the algorithm's."""
    if not runs or runs[0].algorithm == BASELINE:
        return []
    frozen = [cell for cell in cells.values() if cell and cell[0].algorithm == BASELINE]
    return next((cell for cell in frozen if shared_settings(cell[0]) == shared_settings(runs[0])), [])


def shared_settings(record: RunRecord) -> dict[str, object]:
    return {key: value for key, value in record.varied.items() if not key.startswith("algorithm.")}


def figures(runs: Runs, baseline: Runs, judged: list[Column]) -> dict[str, Value]:
    """The figures of one row; None where not measured."""
    final = over_seeds(runs, lambda run: run.final)
    values: dict[str, Value] = {
        "final": final,
        "kl": over_seeds(runs, held_out("kl_reference")),
        "kl_nats": over_seeds(runs, held_out("kl_reference_nats")),
        "queries": max((int(epochs(run, "queries").max()) for run in runs if len(run.curve)), default=None),
        "seconds": over_seeds(runs, lambda run: run.seconds),
        "images_per_second": over_seeds(runs, lambda run: epochs(run, "images_per_second").median()),
        "memory": over_seeds(runs, lambda run: epochs(run, "memory_peak_mb").max()),
    }
    values |= {c.key: over_seeds(runs, held_out(c.key.removeprefix("judged/"))) for c in judged}
    return values | against(runs, final, baseline)


def against(runs: Runs, final: Estimate | None, baseline: Runs) -> dict[str, Value]:
    """The figures that compare a cell with the baseline."""
    if final is None or not baseline:
        return {}
    ours = {run.seed: run.final for run in runs}
    theirs = {run.seed: run.final for run in baseline}
    shared = sorted(ours.keys() & theirs.keys())
    frozen = estimate(list(theirs.values()))
    values: dict[str, Value] = {"probability": probability_of_improvement(list(ours.values()), list(theirs.values()))}
    if shared:
        values["difference"] = paired_difference([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
    if final.has_interval and frozen.has_interval:
        values["beats_baseline"] = "yes" if final.low > frozen.high else "no"
    return values


def over_seeds(runs: Runs, measure: Callable[[RunRecord], float]) -> Estimate | None:
    """A measurement's estimate; None without runs, or where any of them lacks it."""
    values = [measure(run) for run in runs]
    return estimate(values) if values and not any(pd.isna(value) for value in values) else None


def held_out(measure: str) -> Callable[[RunRecord], float]:
    return lambda run: run.held_out(measure)


def epochs(run: RunRecord, measure: str) -> pd.Series:
    """A column of the training curve; empty where it was not measured."""
    return run.curve.get(measure, pd.Series(dtype=float))


def standing(final: Value, best: Estimate | None) -> Standing:
    """Whether a row is the best of its group, or its interval overlaps the best's."""
    if best is None or not isinstance(final, Estimate):
        return ""
    return "best" if final is best else "tied" if final.overlaps(best) else ""


def explanations(rows: list[Row]) -> list[str]:
    """What the figures mean, as far as this table needs it."""
    seeds = {int(str(row.values["n"])) for row in rows}
    average = "Interquartile mean" if max(seeds, default=0) > 3 else "Mean"
    notes = [
        "Final reward: after training, on held-out prompts and noise that seed k shares among all algorithms; higher "
        f"is better. {average} [95 % bootstrap interval] over n seeds; the difference to {BASELINE}, the pretrained "
        f"model, is paired seed by seed. Bold: the best of its reward; {TIED}: its interval overlaps the best's. "
        f"Beats {BASELINE}: its interval lies wholly above that of {BASELINE}."
    ]
    for n in sorted(seeds & {2, 3}):  # below four seeds a replicate of the lowest value alone is likelier than 2.5 %
        notes.append(
            f"An interval over {n} seeds is their range, the most that a bootstrap can say: it holds the true mean "
            f"about {100 * (1 - 2 ** (1 - n)):.0f} % of the time, not 95 %."
        )
    return notes


def unfinished(records: Iterable[RunRecord]) -> list[str]:
    """One note that names every run that is not in the table, with its reason."""
    seeds: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if not is_done(record):
            reason = f" ({' '.join(record.reason.split())})" if record.reason else ""
            seeds[f"{record.cell} {record.status}{reason}"].append(str(record.seed))
    named = [f"{what}: seed {', '.join(which)}" for what, which in seeds.items()]
    return [f"Not done, and in no figure: {'; '.join(named)}."] if named else []


def provenance(records: list[RunRecord]) -> list[str]:
    """How many runs, on what, with which versions."""
    done = [record for record in records if is_done(record)]
    facts = [f"{len(done)} of {len(records)} runs done"]
    for key, wording in PROVENANCE.items():
        found = sorted({str(record.provenance[key]) for record in done if record.provenance.get(key) is not None})
        facts += [wording.format(" and ".join(found))] if found else []
    return [f"{'; '.join(facts)}."]
