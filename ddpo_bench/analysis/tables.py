"""A table of estimates, once, and its renderings: Markdown, CSV, LaTeX, JSON and a data frame."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ddpo_bench.analysis.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd

Value = str | int | Estimate | None
Part = Literal["main", "further"]
Rank = Literal["best", "tied", ""]
FURTHER = "Further measurements"
TIED = "≈"
DIGITS = ".8g"  # in files for machines: more than a float32 has, fewer than differ from machine to machine
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", TIED: r"$\approx$", "–": "--",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One measurement.

    Attributes:
        unit: shown in brackets after the title.
        digits: significant digits of the largest estimate of a group, one fewer below 1; the others get as many
            decimals.  0 for text and counts.
        interval: whether text shows the interval; CSV and data frame always hold it.
        part: "main" for the first table, "further" for the second, None for both (the keys).
        scale: key of the column whose values decide the decimals, where that is not this one.
    """

    key: str
    title: str
    unit: str = ""
    digits: int = 0
    interval: bool = False
    part: Part | None = "main"
    scale: str = ""

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def is_key(self) -> bool:
        """Whether it says what a row is about, rather than a measurement."""
        return self.part is None


@dataclass(frozen=True)
class Row:
    """One line; rows of a group are compared with each other, and share their decimals."""

    group: str
    values: dict[str, Value]
    rank: Rank = ""


@dataclass(frozen=True)
class Table:
    """A comparison; `marked` names the column in which the best of a group is bold.  Notes may hold `code`."""

    title: str
    columns: list[Column]
    rows: list[Row]
    marked: str
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """GitHub Markdown: title, both parts, notes."""
        blocks = [f"# {self.title}", markdown_grid(self, "main"), "\n\n".join(self.notes)]
        if any(column.part == "further" for column in self.columns):
            blocks += [f"## {FURTHER}", markdown_grid(self, "further")]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def to_csv(self) -> str:
        """Plain numbers, an interval as two more columns `<key>_low` and `<key>_high`; empty where not measured."""
        return self.to_frame().to_csv(index=False, float_format=f"%{DIGITS}", lineterminator="\n")

    def to_latex(self) -> str:
        """A booktabs tabular a part, notes below; needs \\usepackage{booktabs}."""
        parts: list[Part] = ["main", "further"]
        grids = [latex_grid(self, part) for part in parts if any(column.part == part for column in self.columns)]
        notes = [rf"\par\footnotesize {latex(note)}" for note in self.notes]
        return "\n\n".join([f"% {self.title}", *grids, *notes]) + "\n"

    def to_json(self) -> str:
        """One object: title, columns, rows and notes; a value that was not measured, or has no interval, is null."""
        columns = [{"key": column.key, "title": column.title, "unit": column.unit} for column in self.columns]
        rows = [{column.key: plain(row.values.get(column.key)) for column in self.columns} for row in self.rows]
        table = {"title": self.title, "columns": columns, "rows": rows, "notes": list(self.notes)}
        return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_frame(self) -> pd.DataFrame:
        """Numbers as in `to_csv`."""
        import pandas as pd

        return pd.DataFrame([flat(self.columns, row.values) for row in self.rows])

    def part(self, part: Part) -> list[Column]:
        """The columns of a part, keys included."""
        return [column for column in self.columns if column.part in (part, None)]

    def is_best(self, row: Row, column: Column) -> bool:
        return column.key == self.marked and row.rank == "best"

    def cell(self, row: Row, column: Column) -> str:
        """A value as text: "-0.881 [-0.890, -0.870]"; a dash where not measured."""
        value = row.values.get(column.key)
        if value is None:
            return "–"
        if not isinstance(value, Estimate):
            return str(value)
        places = self.decimals(row.group, column)
        shown, low, high = (f"{as_in_files(figure):z.{places}f}" for figure in (value.value, value.low, value.high))
        text = f"{shown} [{low}, {high}]" if column.interval and not math.isnan(value.low) else shown
        return f"{text} {TIED}" if column.key == self.marked and row.rank == "tied" else text

    def decimals(self, group: str, column: Column) -> int:
        """How many decimals show `digits` significant ones of the group's largest figure."""
        values = [row.values.get(column.scale or column.key) for row in self.rows if row.group == group]
        largest = max((abs(value.value) for value in values if isinstance(value, Estimate)), default=0.0)
        exponent = math.floor(math.log10(largest)) if largest else 0
        return max(0, column.digits - 1 - exponent - (exponent < 0))


def flat(columns: list[Column], values: dict[str, Value]) -> dict[str, Any]:
    """One row of plain numbers."""
    plain: dict[str, Any] = {}
    for column in columns:
        value = plain[column.key] = values.get(column.key)
        if column.digits:
            estimate = value if isinstance(value, Estimate) else Estimate(math.nan, math.nan, math.nan)
            plain |= {
                column.key: estimate.value,
                f"{column.key}_low": estimate.low,
                f"{column.key}_high": estimate.high,
            }
    return plain


def plain(value: Value) -> str | int | dict[str, float | None] | None:
    """A value for JSON, which knows no NaN: an estimate is {value, low, high}, in as many digits as CSV has."""
    if not isinstance(value, Estimate):
        return value
    return {key: None if math.isnan(figure) else as_in_files(figure) for key, figure in value._asdict().items()}


def as_in_files(figure: float) -> float:
    """Rounded first as files hold it, so that text made from a table and text made from its CSV cannot differ."""
    return float(f"{figure:{DIGITS}}")


def markdown_grid(table: Table, part: Part) -> str:
    columns = table.part(part)
    lines = [[column.heading for column in columns], [":--" if column.is_key else "--:" for column in columns]]
    for row in table.rows:
        cells = [(table.cell(row, column).replace("|", r"\|"), table.is_best(row, column)) for column in columns]
        lines.append([f"**{text}**" if best else text for text, best in cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex_grid(table: Table, part: Part) -> str:
    import pandas as pd

    columns = table.part(part)
    lines = []
    for row in table.rows:
        cells = [(latex(table.cell(row, column)), table.is_best(row, column)) for column in columns]
        lines.append([rf"\textbf{{{text}}}" if best else text for text, best in cells])
    frame = pd.DataFrame(lines, columns=[latex(column.heading) for column in columns])
    kinds = "".join("l" if column.is_key else "r" for column in columns)
    text = frame.to_latex(index=False, escape=False, column_format=kinds).splitlines()
    for number in range(len(table.rows) - 1, 0, -1):
        if table.rows[number].group != table.rows[number - 1].group:
            text.insert(4 + number, r"\midrule")  # after the tabular's beginning, two rules and the headings
    return "\n".join(text)


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped and `code` in typewriter."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)
