"""Over-optimisation: the change in everything that was measured, against the pretrained model.

The change is taken run by run, from the run's first evaluation, which is the pretrained model's on the same prompts and
noise, to its last; so it is that to `frozen`, and there without a `frozen` run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from ddpo_bench.analysis.cells import cells_of, tasks_of
from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

REWARD, IMAGE = "judged by", "image statistics"  # groups of measures
KL = "kl_reference_nats"


class Measured(NamedTuple):
    """What evaluations measure: its name after `eval/`, how it is headed, and with what."""

    key: str
    title: str
    group: str


class Change(NamedTuple):
    """How one measure changed.

    Attributes:
        value: IQM over the seeds.
        settled: whether it has the same sign for every seed.
        trained: whether the measure is the reward that was optimised.
    """

    value: float
    settled: bool
    trained: bool


@dataclass(frozen=True)
class Changes:
    """The changes by trained reward.

    Attributes:
        measures: rewards first.
        missing: what no run measured.
        pretrained: trained reward and measure to the pretrained model's value; NaN where not measured.
        rows: trained reward, algorithm and measure to the change; None where not measured.
    """

    measures: list[Measured]
    missing: list[str]
    pretrained: dict[str, dict[Measured, float]]
    rows: dict[str, dict[str, dict[Measured, Change | None]]]

    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring measures of one group: its name, and how many they are."""
        return [(name, len(list(several))) for name, several in groupby(self.measures, lambda one: one.group)]

    def largest(self, measure: Measured) -> float:
        """The largest size of a change; 0 where there is none."""
        found = [row[measure] for rows in self.rows.values() for row in rows.values()]
        return max((abs(change.value) for change in found if change), default=0.0)

    def decimals(self, measure: Measured) -> int:
        """How many show three significant digits of the largest value or change."""
        values = [abs(values[measure]) for values in self.pretrained.values()]
        largest = max(self.largest(measure), *(value for value in values if not math.isnan(value)), 0.0)
        return max(0, 2 - math.floor(math.log10(largest))) if largest else 0


def over_optimisation(records: Iterable[RunRecord]) -> Changes:
    """The changes of all runs that learned.

    Args:
        records: done runs.
    """
    learned = [record for record in records if record.algorithm != BASELINE]
    measures = measures_of(learned)
    pretrained: dict[str, dict[Measured, float]] = {}
    rows: dict[str, dict[str, dict[Measured, Change | None]]] = {}
    for task in tasks_of(learned):
        cells = cells_of(learned, task)
        seeds = {run.seed: run for runs in cells.values() for run in runs}.values()  # the pretrained model is the same
        pretrained[task] = {one: average([run.held_out(one.key, 0) for run in seeds]) for one in measures}
        rows[task] = {label: {one: change(cell, one.key) for one in measures} for label, cell in cells.items()}
    found = {one.key for one in measures} | {one.group for one in measures}
    return Changes(measures, [name for name in ("diversity", IMAGE) if name not in found], pretrained, rows)


def measures_of(records: list[RunRecord]) -> list[Measured]:
    """What any run's evaluations hold: rewards, diversity, image statistics, KL."""
    keys = {key for record in records for row in record.evaluated for key in row}
    names = sorted(key.removeprefix("eval/") for key in keys if key.startswith("eval/"))
    others = [Measured("diversity", "diversity", ""), Measured(KL, "KL (nats)", "")]
    diversity, kl = ([one] if one.key in names else [] for one in others)
    pictures = [Measured(name, name.removeprefix("image/"), IMAGE) for name in names if name.startswith("image/")]
    rest = {"diversity", KL, "kl_reference"}
    rewards = [Measured(name, name, REWARD) for name in names if "/" not in name and name not in rest]
    return [*rewards, *diversity, *pictures, *kl]


def change(runs: list[RunRecord], measure: str) -> Change | None:
    """Last evaluation minus first; None where a run lacks either."""
    differences = [run.held_out(measure) - run.held_out(measure, 0) for run in runs]
    mean = average(differences)
    settled = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    return None if math.isnan(mean) else Change(mean, settled, measure == runs[0].reward)


def average(values: list[float]) -> float:
    """IQM; NaN where any value is."""
    return float(iqm(values))
