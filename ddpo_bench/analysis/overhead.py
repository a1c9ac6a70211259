"""What of a suite's time was overhead: everything that is not sampling, reward or learning.

Of a run's seconds these are work, while training and in evaluations alike, which draw and score images too:

* sampling: encoding the prompts, denoising, decoding; in evaluations also the further samples for the diversity;
* reward: scoring the images; in evaluations under every reward, and measuring diversity and image statistics;
* learning: the algorithm's update;
* KL: network passes that compare the policy with the pretrained model.

The overhead is the rest: a worker's start (importing the libraries), a run's start (loading model, judges and
checkpoint), checkpoints and all other files, what lies between a worker's runs, and work that an interruption lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.analysis.tables import Column, Row, Table, Value
from ddpo_bench.analysis.utilisation import Computed, with_utilisation
from ddpo_bench.run_folder.places import ResultsError

EPOCH_PARTS = {"sampling": "sampling", "reward": "reward", "learning": "learning", "kl": "KL"}
EVALUATION_PARTS = {
    "eval_sampling": "evaluation's sampling",
    "eval_reward": "evaluation's reward",
    "eval_kl": "evaluation's KL",
}
WORK = {**EPOCH_PARTS, **EVALUATION_PARTS}
OVERHEAD = {
    "start": "start-up",
    "files": "checkpoints and files",
    "other": "other",
    "between": "between runs",
}
OVERHEAD_COLUMNS = ("start", "checkpoint", "files")  # of status.json
WHOLE = "whole suite"
COLUMNS = [
    Column("algorithm", "algorithm", part=None),
    Column("reward_name", "trained on", part=None),
    Column("runs", "runs"),
    *(Column(part, title, "s", digits=3) for part, title in (WORK | OVERHEAD).items()),
    Column("total", "in all", "s", digits=4),
    Column("overhead", "overhead", "%", digits=3),
]
MEANWHILE = Column("meanwhile", "reward meanwhile", "s", digits=3)
OVERLAPPED = ("seconds_reward_overlapped", "seconds_eval_reward_overlapped")
MEANING = (
    "Overhead: everything except sampling, reward, learning and KL. Evaluations sample and score images as training "
    "does, and the KL to the pretrained model takes network passes: both count as work, not as overhead, and have "
    "columns of their own. Other: work that an interruption lost, and time that was not measured."
)


@dataclass(frozen=True)
class WorkerTime:
    """What the run queue tells of all workers together.

    Attributes:
        workers: processes.
        start: seconds from a process's birth to its first claim.
        seconds: from its birth to the end of its last run.
    """

    workers: int
    start: float
    seconds: float


def profile(
    records: list[RunRecord],
    suite: str,
    results: Path,
    workers: WorkerTime | None,
    computed: Mapping[Path, Computed] | None = None,
) -> Table:
    """Seconds by part and how well they were used, a row a cell, over all its runs, and one for the whole suite.

    Args:
        workers: None where there is no run queue, or not all of these runs are in it; the runs' own seconds count then.
        computed: what finished runs have computed, by folder, as far as it is known; None leaves out memory and speed.
    Raises:
        ResultsError: where no run has measured its parts.
    """
    begun = [record for record in records if record.seconds]
    runs = measured(begun)
    if not runs:
        raise ResultsError(
            f"{results}: no run here measured where all of its time went, as runs of this version do; train some again "
            f"elsewhere to see: ddpo-bench run {suite} --results DIR."
        )
    if len(runs) < len(begun):
        workers = None
    cells = [(task, label, cell) for task in tasks_of(runs) for label, cell in cells_of(runs, task).items()]
    rows = [Row(task, values_of(label, task, cell)) for task, label, cell in cells]
    rows.append(Row(WHOLE, values_of("all", "", runs, workers)))
    columns = [*COLUMNS, MEANWHILE] if any(map(overlapped, runs)) else COLUMNS
    table = Table(f"{suite}: where the time went", columns, rows, "", notes(len(begun) - len(runs), workers))
    if computed is None:
        return table
    return with_utilisation(table, [*(cell for _, _, cell in cells), runs], computed)


def measured(runs: list[RunRecord]) -> list[RunRecord]:
    """The runs that have all columns; one that an older version began has them in some rows only."""
    return [run for run in runs if not math.isnan(math.fsum(parts_of(run).values()))]


def parts_of(run: RunRecord) -> dict[str, float]:
    """Seconds of one run by part, "between" excepted: together all of its seconds; NaN where not measured."""
    seconds = {part: sum(row.get(f"seconds_{part}", math.nan) for row in run.epochs) for part in EPOCH_PARTS}
    for part in EVALUATION_PARTS:
        seconds[part] = sum(row.get(f"seconds_{part}", math.nan) for row in run.evaluated)
    start, checkpoint, files = (run.overheads.get(f"seconds_{part}", math.nan) for part in OVERHEAD_COLUMNS)
    files += sum(row.get("seconds_eval_files", 0.0) for row in run.evaluated)
    seconds |= {"start": start, "files": checkpoint + files}
    return seconds | {"other": max(0.0, run.seconds - math.fsum(seconds.values()))}


def overlapped(run: RunRecord) -> float:
    """Seconds in which images were scored while others were sampled, which are part of other parts."""
    return math.fsum(row.get(key, 0.0) for row in [*run.epochs, *run.evaluated] for key in OVERLAPPED)


def values_of(
    algorithm: str, reward: str, runs: list[RunRecord], workers: WorkerTime | None = None
) -> dict[str, Value]:
    """The parts of several runs added up, with the workers' start and what lay between the runs."""
    parts = [parts_of(run) for run in runs]
    seconds = {part: math.fsum(one[part] for one in parts) for part in parts[0]}
    if workers:
        between = workers.seconds - workers.start - math.fsum(run.seconds for run in runs)
        seconds |= {"start": seconds["start"] + workers.start, "between": max(0.0, between)}
    whole = math.fsum(seconds.values())
    overhead = math.fsum(value for part, value in seconds.items() if part in OVERHEAD)
    meanwhile = math.fsum(map(overlapped, runs))
    figures = seconds | {"total": whole, "overhead": 100 * overhead / whole, "meanwhile": meanwhile}
    keys: dict[str, Value] = {"algorithm": algorithm, "reward_name": reward, "runs": len(runs)}
    return keys | {name: Estimate(value, math.nan, math.nan) for name, value in figures.items()}


def notes(unmeasured: int, workers: WorkerTime | None) -> tuple[str, ...]:
    """What counts as what, and what the whole suite's time is."""
    if workers:
        time = (
            f"Whole suite: the time of {workers.workers} worker processes, each from its start to the end of its last "
            "run, as the run queue records it; start-up includes their imports. It leaves out the command's own time "
            "before its workers start and its report after them."
        )
    else:
        time = "Whole suite: the runs' own seconds; no run queue holds all of them, so imports and gaps are left out."
    left_out = f"{unmeasured} runs of an older version did not measure all of this and are left out."
    return (MEANING, time, left_out) if unmeasured else (MEANING, time)
