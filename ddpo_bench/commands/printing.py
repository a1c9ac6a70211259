"""Tables and results on standard output."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.console import wide_console
from ddpo_bench.files import DiskTrouble, naming_disk_trouble
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.plan import PlannedRun

if TYPE_CHECKING:
    from ddpo_bench.analysis.tables import Table

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def print_summary(results: Path, asked: Mapping[str, Any] | None = None, anew: bool = False) -> None:
    """Make the table, plots and report of a results folder and print the table, also where nothing can be written.

    Args:
        asked, anew: as of `make_outputs`.
    Raises:
        DiskTrouble: after the table, where files that are expected could not be written.
    """
    from ddpo_bench.analysis.tabulate import tabulate

    try:
        with naming_disk_trouble(results):
            table = make_outputs(results, asked, anew)
    except DiskTrouble as trouble:
        print_table_as(tabulate(results), None)
        if trouble.number not in READ_ONLY:
            raise
        print(f"\nNothing was written, since {results} is read-only here: its tables and plots stay as they are.")
        return
    print_outputs(table, results)


def make_outputs(results: Path, asked: Mapping[str, Any] | None, anew: bool) -> Table:
    """Make the outputs where anything that they are made of has changed.

    Args:
        asked: the question that they answer, as of `write_record`.
        anew: make them in any case.
    """
    from ddpo_bench.analysis.outputs import are_current, inputs_hash, write_record
    from ddpo_bench.analysis.tabulate import tabulate

    inputs = inputs_hash(results)
    if are_current(results, inputs) and not anew:
        table = tabulate(results)
    else:
        from ddpo_bench.analysis.report.summary import summarise

        table = summarise(results)
    write_record(results, inputs, asked)
    return table


def print_outputs(table: Table, results: Path) -> None:
    """The table, and where to find the rest."""
    print_table_as(table, None)
    print(f"\nReport: {results / 'report.html'}\nTables: {results}/table.md, .csv, .tex\nPictures: {results / 'plots'}")


def print_table_as(table: Table, form: str | None) -> None:
    """Print a table of results: for reading, or in the form asked for."""
    if form:
        forms = {"md": table.to_markdown, "csv": table.to_csv, "tex": table.to_latex, "json": table.to_json}
        print(forms[form](), end="")
        return
    from ddpo_bench.analysis.terminal import TerminalTable

    wide_console().print(TerminalTable(table))


def print_failures(failed: Sequence[PlannedRun], root: Path) -> None:
    for planned in failed:
        print(f"{planned.name}: failed: {read_status(root / planned.folder)['reason']} (see {root / planned.folder})")
    if failed:
        print(f"{len(failed)} failed; to run them again add --retry-failed")
