"""The table of results whose runs are not there, read back from the table.csv and table.md that they left."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpo_bench.analysis.comparison import KEYS, MEASUREMENTS, best_of, rank
from ddpo_bench.analysis.measures import FINAL
from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.analysis.tables import Column, Row, Table, Value
from ddpo_bench.run_folder.places import ResultsError

JUDGED = "judged/"


def read_table(results: Path) -> Table:
    """The comparison as it was written.

    Raises:
        ResultsError: where table.csv is not a comparison of runs.
    """
    path = results / "table.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    if not lines or not {"algorithm", "reward", FINAL.key} <= lines[0].keys():
        raise ResultsError(f"{path}: is no comparison of runs. Make it again: ddpo-bench table {results}.")
    columns = [*KEYS, *MEASUREMENTS, *(judged(key) for key in lines[0] if is_judged(key))]
    columns = [column for column in columns if column.key in lines[0]]
    rows = [Row(line["reward"], {column.key: value_of(line, column) for column in columns}) for line in lines]
    return Table(f"{results.name}: {FINAL.title} by algorithm", columns, ranked(rows), FINAL.key, notes_of(results))


def is_judged(key: str) -> bool:
    return key.startswith(JUDGED) and not key.endswith(("_low", "_high"))


def judged(key: str) -> Column:
    return Column(key, f"judged by {key.removeprefix(JUDGED)}", digits=4, part="further")


def value_of(line: dict[str, str], column: Column) -> Value:
    text = line[column.key]
    if not column.digits or not text:
        return text or None
    return Estimate(
        *(float(line.get(key) or math.nan) for key in (column.key, f"{column.key}_low", f"{column.key}_high"))
    )


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows with the best of each reward marked."""
    marked = []
    for row in rows:
        best = best_of([other.values[FINAL.key] for other in rows if other.group == row.group], FINAL)
        marked.append(Row(row.group, row.values, rank(row.values[FINAL.key], best)))
    return marked


def notes_of(results: Path) -> tuple[str, ...]:
    """The paragraphs of table.md; none where there is no such file."""
    path = results / "table.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return tuple(paragraphs(re.split(r"\n\s*\n", text)))


def paragraphs(blocks: Iterable[str]) -> Iterable[str]:
    return (block.strip() for block in blocks if block.strip() and not block.lstrip().startswith(("#", "|")))
