"""What a run can be judged by: one number a run, its name, and which direction is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.registry import unknown
from ddpo_bench.run_folder.places import ResultsError

BASELINE = "frozen"
EVALUATION_PROMPTS = {"held_out": "held-out prompts", "training": "prompts that training draws too"}
Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Attributes:
        key: its column in CSV and JSON.
        title: in headings.
        meaning: one clause for the note under the table, as `meaning_for` completes it.
        better: which direction is; "" where neither is.
        of: its value for a done run; NaN where it was not measured.
    """

    key: str
    title: str
    meaning: str
    better: Better
    of: Callable[[RunRecord], float]
    unit: str = ""

    @property
    def direction(self) -> str:
        """For the note: "higher is better"."""
        return f"{self.better} is better" if self.better else "neither direction is better"

    def meaning_for(self, records: Iterable[RunRecord]) -> str:
        """The meaning, with the prompts that these runs were evaluated on."""
        kinds = {record.evaluation_prompts for record in records if record.config}
        named = [name for kind, name in EVALUATION_PROMPTS.items() if kind in kinds]
        return self.meaning.format(prompts=" in some runs and in others on ".join(named))


FINAL = Measure(
    "final",
    "final reward",
    "after training, on {prompts} and noise that seed k shares among all algorithms",
    "higher",
    lambda run: run.held_out(run.reward),
)
NAMED = {
    "final": FINAL,
    "kl": Measure(
        "kl_nats",
        "KL to pretrained",
        "after training, on {prompts}",
        "lower",
        lambda run: run.held_out("kl_reference_nats"),
        "nats",
    ),
    "seconds": Measure(
        "seconds", "run time", "wall time of one run, all its sessions together", "lower", lambda run: run.seconds, "s"
    ),
    "images_per_second": Measure(
        "images_per_second",
        "sampling",
        "images sampled in a second, median over epochs",
        "higher",
        lambda run: median_of_epochs(run, "images_per_second"),
        "images/s",
    ),
}
NOT_MEASURES = ("epoch",)


def find_measure(name: str, records: list[RunRecord]) -> Measure:
    """A measure by name: one of NAMED, `eval/<name>` of the last evaluation, or a column of the training curve.

    Args:
        records: whose done runs say what there is.
    Raises:
        ResultsError: where there is none of that name, with the nearest and all that exist.
    """
    if name in NAMED:
        return NAMED[name]
    known = measured_names(records)
    if name not in known:
        raise ResultsError(unknown("metric", name, known))
    if name.startswith("eval/"):
        measure = name.removeprefix("eval/")
        meaning = "after training, on images of {prompts}"
        return Measure(name, name, meaning, better(name), lambda run: run.held_out(measure))
    return Measure(name, name, "of a run's last epoch of training", better(name), lambda run: last_epoch(run, name))


def measured_names(records: list[RunRecord]) -> set[str]:
    """What `find_measure` finds among these runs."""
    done = [record for record in records if record.status == "done"]
    curve = {key for record in done for row in record.epochs for key in row}
    held_out = {key for record in done for row in record.evaluated for key in row if key.startswith("eval/")}
    return {*NAMED, *curve, *held_out} - {*NOT_MEASURES}


def last_epoch(run: RunRecord, column: str) -> float:
    """A column of the curve in its last row; NaN where it was not measured."""
    value = run.epochs[-1].get(column) if run.epochs else None
    return math.nan if value is None else float(value)


def median_of_epochs(run: RunRecord, column: str) -> float:
    """The median of a column of the curve; NaN where it was not measured."""
    values = [row[column] for row in run.epochs if row.get(column) is not None]
    return float(np.nanmedian(values)) if values else math.nan


def better(name: str) -> Better:
    """The better direction of an evaluation's or a curve's column: known for rewards, KL, time and memory."""
    if name.startswith(("kl_", "eval/kl_", "seconds_", "memory_")):
        return "lower"
    if name.startswith("eval/image/"):  # what images look like, not how good they are
        return ""
    return "higher" if name.startswith(("eval/", "reward_m")) else ""  # reward_mean and reward_max, not reward_std
