"""How fast runs have computed, and what share of a matrix product's speed that is.

The model FLOP utilisation is that of Chowdhery et al., PaLM (2022), section 4.1, against a measured peak: what the
network's passes need, without what is computed again to save memory or what measures the run, over what a matrix
product reaches in the same time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ddpo_bench.analysis.comparison import peak_memory
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.analysis.tables import Column, Table, Value

COUNTED_EPOCH = ("sampling", "learning")  # the phases whose network passes are counted
COUNTED_EVALUATION = ("eval_sampling", "eval_kl")
COLUMNS = [
    Column("memory", "peak memory", "MB", digits=3),
    Column("speed", "speed", "TFLOP/s", digits=3),
    Column("mfu", "MFU", "%", digits=3),
]
MEANING = (
    "Speed: floating-point operations of the network and the decoder, counted from the configurations of runs that "
    "are done, over their seconds of sampling, learning and evaluation's KL. MFU: that speed over the fastest matrix "
    "product of this processor or GPU, measured now in the precision and with the threads of the run; runs that share "
    "a GPU share its speed."
)
UNCOUNTED = "No speed for {} of {} runs: not done, the model is not here, or what the algorithm does cannot be counted."
ELSEWHERE = "No MFU for {} of {} runs: they ran on a processor or GPU that is not here."


@dataclass(frozen=True)
class Computed:
    """What a finished run has computed.

    Attributes:
        flops: of its counted network passes.
        peak: FLOP/s of a matrix product where it ran; None where that is not here.
    """

    flops: float
    peak: float | None


def with_utilisation(
    table: Table, runs_of_rows: Sequence[Sequence[RunRecord]], computed: Mapping[Path, Computed]
) -> Table:
    """A table with these columns and what they mean.

    Args:
        table: its last row is about all runs.
        runs_of_rows: whose seconds of all phases are known.
        computed: by run folder.
    """
    rows = [
        replace(row, values=row.values | utilisation(runs, computed))
        for row, runs in zip(table.rows, runs_of_rows, strict=True)
    ]
    remarks = (*table.notes, *notes(runs_of_rows[-1], computed))
    return replace(table, columns=[*table.columns, *COLUMNS], rows=rows, notes=remarks)


def utilisation(runs: Sequence[RunRecord], computed: Mapping[Path, Computed]) -> dict[str, Value]:
    """The columns of several runs together, those left out that are not known.

    Args:
        runs: with the seconds of their phases.
        computed: by run folder.
    """
    counted = [(computed[run.folder], counted_seconds(run)) for run in runs if run.folder in computed]
    here = [(one.flops, seconds * one.peak) for one, seconds in counted if one.peak]
    memory = max((peak for run in runs if not math.isnan(peak := peak_memory(run))), default=0.0)
    figures = {
        "memory": memory,
        "speed": ratio([(one.flops, seconds) for one, seconds in counted]) / 1e12,
        "mfu": 100 * ratio(here),
    }
    return {key: Estimate(value, math.nan, math.nan) for key, value in figures.items() if value}


def counted_seconds(run: RunRecord) -> float:
    """Of the phases whose network passes are counted."""
    epochs = [row[f"seconds_{part}"] for row in run.epochs for part in COUNTED_EPOCH]
    return math.fsum(epochs + [row[f"seconds_{part}"] for row in run.evaluated for part in COUNTED_EVALUATION])


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The sum of the first over the sum of the second; 0 where there is none."""
    whole = math.fsum(second for _, second in pairs)
    return math.fsum(first for first, _ in pairs) / whole if whole else 0.0


def notes(runs: Sequence[RunRecord], computed: Mapping[Path, Computed]) -> list[str]:
    """What the columns are, and how many runs lack them."""
    counted = [computed[run.folder] for run in runs if run.folder in computed]
    uncounted, elsewhere = len(runs) - len(counted), sum(one.peak is None for one in counted)
    lacks = ((UNCOUNTED, uncounted), (ELSEWHERE, elsewhere))
    return [MEANING, *(text.format(number, len(runs)) for text, number in lacks if number)]
