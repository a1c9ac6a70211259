"""Runs by reward and algorithm, in the order in which tables and pictures show them."""

from __future__ import annotations

from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord

ALL_REWARDS = "all rewards"
Finals = dict[str, dict[str, list[float]]]  # by reward and algorithm


def tasks_of(records: list[RunRecord]) -> list[str]:
    return list(dict.fromkeys(record.task for record in records))


def labels_of(records: list[RunRecord]) -> list[str]:
    """Every algorithm on any reward, the baseline first."""
    ordered = sorted(records, key=lambda record: record.algorithm != BASELINE)
    return list(dict.fromkeys(record.label for record in ordered))


def cells_of(records: list[RunRecord], task: str) -> dict[str, list[RunRecord]]:
    """The runs of one reward by label, the baseline first."""
    runs = [record for record in records if record.task == task]
    return {label: [run for run in runs if run.label == label] for label in labels_of(runs)}


def finals_of(records: list[RunRecord]) -> Finals:
    """Final rewards of the seeds."""
    return {
        task: {label: [run.final for run in runs] for label, runs in cells_of(records, task).items()}
        for task in tasks_of(records)
    }
