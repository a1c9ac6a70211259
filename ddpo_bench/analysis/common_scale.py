"""Final rewards of all tasks on one scale, or why there is none."""

from __future__ import annotations

import numpy as np

from ddpo_bench.analysis.cells import finals_of, labels_of
from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Array, iqm

LEFT_OUT = "No averages over all rewards: "


def on_common_scale(records: list[RunRecord]) -> dict[str, list[Array]]:
    """Normalised final rewards by algorithm, [n] a task: 0 = the IQM of `frozen` on the task, 1 = the best algorithm's.

    The two ends are taken as known: intervals of normalised scores say nothing of their error.

    Args:
        records: done runs for which `no_common_scale` finds nothing to say.
    """
    (baseline,) = baselines(records)
    scores: dict[str, list[Array]] = {label: [] for label in labels_of(records)}
    for finals in finals_of(records).values():
        zero, one = iqm(finals[baseline]), max(map(iqm, finals.values()))
        for label, runs in scores.items():
            runs.append((np.asarray(finals[label]) - zero) / (one - zero))
    return scores


def no_common_scale(records: list[RunRecord]) -> str:
    """One sentence that says why these done runs have no common scale; empty where they have one."""
    labels, finals, zeros = labels_of(records), finals_of(records), baselines(records)
    if len(zeros) != 1:
        reason = f"there are several {BASELINE} cells" if zeros else f"{BASELINE}, the zero of their scale, is not done"
        return f"{LEFT_OUT}{reason}."
    lacking = [f"{label} on {task}" for task in finals for label in labels if label not in finals[task]]
    if lacking:
        return f"{LEFT_OUT}they need every algorithm on every reward, and nothing is done of {', '.join(lacking)}."
    flat = [task for task, cells in finals.items() if max(map(iqm, cells.values())) <= iqm(cells[zeros[0]])]
    return f"{LEFT_OUT}nothing beats {BASELINE} on {' and '.join(flat)}, which has no scale then." if flat else ""


def baselines(records: list[RunRecord]) -> list[str]:
    """The labels of the cells that learn nothing."""
    return list(dict.fromkeys(record.label for record in records if record.algorithm == BASELINE))
