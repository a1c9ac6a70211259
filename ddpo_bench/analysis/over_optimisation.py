"""Over-optimisation: the change in everything that was measured, against the pretrained model.

The change is taken run by run, from the run's first evaluation, which is the pretrained model's on the same prompts and
noise, to its last; so it is that to `frozen`, and there without a `frozen` run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import iqm

KL, DIVERSITY, IMAGE = "kl_reference_nats", "diversity", "image/"


@dataclass(frozen=True)
class Changes:
    """The changes by trained reward; columns are measures, rewards first, NaN what a run of the cell did not measure.

    Attributes:
        value: IQM over the seeds, a row a trained reward and algorithm.
        settled: whether it has the same sign for every seed.
        pretrained: the pretrained model's values, a row a trained reward.
        trained: of a trained reward, the measure that was optimised.
    """

    value: pd.DataFrame
    settled: pd.DataFrame
    pretrained: pd.DataFrame
    trained: dict[str, str]

    @property
    def missing(self) -> list[str]:
        """What no run measured."""
        found = [*self.value.columns]
        images = any(name.startswith(IMAGE) for name in found)
        return [*([] if DIVERSITY in found else [DIVERSITY]), *([] if images else ["image statistics"])]

    def largest(self, measure: str) -> float:
        """The largest size of a change; 0 where there is none."""
        return float(np.nan_to_num(self.value[measure].abs().max()))

    def decimals(self, measure: str) -> int:
        """How many show three significant digits of the largest value or change."""
        largest = max(self.largest(measure), np.nan_to_num(self.pretrained[measure].abs().max()))
        return max(0, 2 - math.floor(math.log10(largest))) if largest else 0


def over_optimisation(records: Iterable[RunRecord]) -> Changes | None:
    """The changes of all runs that learned; None where none did.

    Args:
        records: done runs.
    """
    learned = [record for record in records if record.algorithm != BASELINE]
    if not learned:
        return None
    measures = measures_of(learned)
    runs = [(run.task, run.label, run.seed) for run in learned]
    index = pd.MultiIndex.from_tuples(runs, names=["task", "label", "seed"])
    first, last = (
        pd.DataFrame([[run.held_out(name, at) for name in measures] for run in learned], index, measures)
        for at in (0, -1)
    )
    cells = (last - first).groupby(["task", "label"], sort=False)
    seeds = first.groupby(["task", "seed"], sort=False).first()  # the pretrained model is the same for every algorithm
    pretrained = seeds.groupby("task", sort=False).agg(average)
    return Changes(cells.agg(average), cells.agg(agree), pretrained, {run.task: run.reward for run in learned})


def average(seeds: pd.Series) -> float:
    return float(iqm(seeds))


def agree(changes: pd.Series) -> bool:
    return bool((changes > 0).all() or (changes < 0).all())


def measures_of(records: list[RunRecord]) -> list[str]:
    """What any run's evaluations hold: rewards, diversity, image statistics, KL."""
    keys = {key for record in records for row in record.evaluated for key in row}
    names = sorted(key.removeprefix("eval/") for key in keys if key.startswith("eval/"))
    rewards = [name for name in names if "/" not in name and name not in (DIVERSITY, KL, "kl_reference")]
    pictures = [name for name in names if name.startswith(IMAGE)]
    return [*rewards, *({DIVERSITY} & {*names}), *pictures, *({KL} & {*names})]
