"""A table for the terminal: one grid where it fits, else several under each other, so that no number is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from ddpo_bench.analysis.tables import Column, Table

GAP = 2  # characters between columns


@dataclass(frozen=True)
class TerminalTable:
    """The main part of a table, rows under the name of their group, and its notes."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable | Text]:
        yield Text(self.table.title, style="bold")
        for columns in side_by_side(self.table, options.max_width):
            yield grid(self.table, columns)
        yield from (Text(note.replace("`", ""), style="dim") for note in self.table.notes)


def side_by_side(table: Table, width: int) -> Iterator[list[Column]]:
    """The main part's columns, in as few lists as fit the width next to the first key."""
    first, *_ = table.columns
    chosen: list[Column] = []
    for column in [column for column in table.part("main") if not column.is_key]:
        if chosen and sum(text_width(table, c) + GAP for c in [first, *chosen, column]) > width:
            yield chosen
            chosen = []
        chosen.append(column)
    yield chosen


def text_width(table: Table, column: Column) -> int:
    """Characters of a column: a heading may break at its spaces, a cell may not."""
    words = column.heading.split()
    cells = [table.cell(row, column) for row in table.rows]
    if column.is_key:
        cells = [f"  {cell}" for cell in cells] + [row.group for row in table.rows]
    return max(map(len, [*words, *cells]))


def grid(table: Table, columns: list[Column]) -> RichTable:
    first, *_ = table.columns
    lines = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for column in [first, *columns]:
        justify: JustifyMethod = "left" if column.is_key else "right"
        lines.add_column(Text(column.heading), justify=justify, vertical="bottom", width=text_width(table, column))
    for group, rows in groupby(table.rows, key=lambda row: row.group):
        lines.add_row()
        lines.add_row(Text(group, style="bold"))
        for row in rows:
            texts = [Text(table.cell(row, c), style="bold" if table.is_best(row, c) else "") for c in columns]
            lines.add_row(Text(f"  {table.cell(row, first)}"), *texts)
    lines.add_row()
    return lines
