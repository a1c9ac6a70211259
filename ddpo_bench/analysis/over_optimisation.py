"""What optimising cost: the change in everything that was measured, against the pretrained model.

The change is taken run by run, from the run's first evaluation, which is the pretrained model's on the same prompts and
noise, to its last; so it is that to `frozen`, and there without a `frozen` run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

DIVERSITY, KL = "diversity", "kl_reference_nats"
NEITHER_REWARD = (DIVERSITY, KL, "kl_reference")
IMAGE = "image/"


@dataclass(frozen=True)
class Change:
    """One figure of the panel.

    Attributes:
        value: IQM over the seeds of what changed.
        settled: whether it has the same sign for every seed.
        trained: whether it is the reward that was optimised.
    """

    value: float
    settled: bool
    trained: bool


@dataclass(frozen=True)
class PanelRow:
    """One algorithm on one reward; a change is None where it was not measured."""

    label: str
    changes: dict[str, Change | None]


@dataclass(frozen=True)
class Panel:
    """The changes by trained reward.

    Attributes:
        measures: names after `eval/`, rewards first.
        missing: groups that no run measured.
        pretrained: trained reward to measure to the pretrained model's figure; NaN where not measured.
        rows: trained reward to its algorithms.
    """

    measures: list[str]
    missing: list[str]
    pretrained: dict[str, dict[str, float]]
    rows: dict[str, list[PanelRow]]

    def largest_change(self, measure: str) -> float:
        """The largest size of a change; 0 where there is none."""
        changes = [row.changes[measure] for rows in self.rows.values() for row in rows]
        return max((abs(change.value) for change in changes if change), default=0.0)

    def decimals(self, measure: str) -> int:
        """How many show three significant digits of the largest figure."""
        figures = [abs(values[measure]) for values in self.pretrained.values()]
        largest = max(self.largest_change(measure), *(figure for figure in figures if not math.isnan(figure)), 0.0)
        return max(0, 2 - math.floor(math.log10(largest))) if largest else 0


def hacking_panel(records: Iterable[RunRecord]) -> Panel:
    """The panel of all runs that learned.

    Args:
        records: done runs.
    """
    learned = [record for record in records if record.algorithm != "frozen"]
    measures = measured(learned)
    pretrained, rows = {}, {}
    for task in dict.fromkeys(record.task for record in learned):
        runs = [record for record in learned if record.task == task]
        seeds = {run.seed: run for run in runs}.values()  # one run a seed: the pretrained model is the same in all
        pretrained[task] = {name: average([run.held_out(name, 0) for run in seeds]) for name in measures}
        labels = dict.fromkeys(run.label for run in runs)
        rows[task] = [panel_row(label, [run for run in runs if run.label == label], measures) for label in labels]
    groups = {DIVERSITY: DIVERSITY, "image statistics": IMAGE}
    missing = [group for group, start in groups.items() if not any(name.startswith(start) for name in measures)]
    return Panel(measures, missing, pretrained, rows)


def measured(records: list[RunRecord]) -> list[str]:
    """What any run's evaluations hold: rewards, diversity, image statistics, KL."""
    keys = {str(key) for record in records for key in record.evaluations}
    names = sorted(key.removeprefix("eval/") for key in keys if key.startswith("eval/"))
    rewards = [name for name in names if re.match("[^/]+$", name) and name not in NEITHER_REWARD]
    pictures = [name for name in names if name.startswith(IMAGE)]
    return [*rewards, *(name for name in (DIVERSITY,) if name in names), *pictures, *(n for n in (KL,) if n in names)]


def panel_row(label: str, runs: list[RunRecord], measures: list[str]) -> PanelRow:
    return PanelRow(label, {name: change(runs, name) for name in measures})


def change(runs: list[RunRecord], measure: str) -> Change | None:
    """Last evaluation minus first; None where a run lacks either."""
    differences = [run.held_out(measure) - run.held_out(measure, 0) for run in runs]
    if math.isnan(average(differences)):
        return None
    settled = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    return Change(average(differences), settled, measure == runs[0].reward)


def average(values: list[float]) -> float:
    """IQM; NaN where any value is."""
    return math.nan if any(math.isnan(value) for value in values) else float(iqm(values))
