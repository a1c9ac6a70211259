"""Printing of tables and results."""

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
    """Make the table, plots and report of a results folder, and print the table, even where nothing can be written.

    Args:
        results: the results folder.
        asked, anew: as for `make_outputs`.
    Raises:
        DiskTrouble: after the table is printed, where the disk is full.
    """
    from ddpo_bench.analysis.tabulate import tabulate

    try:
        with naming_disk_trouble(results):
            table = make_outputs(results, asked, anew)
    except DiskTrouble as trouble:
        print_table_as(tabulate(results), None)
        if trouble.number not in READ_ONLY:
            raise
        print(f"\nNothing was written, because {results} is read-only: its tables and plots are as before.")
        return
    print_outputs(table, results)


def make_outputs(results: Path, asked: Mapping[str, Any] | None, anew: bool) -> Table:
    """Make the outputs if anything that they depend on has changed.

    Args:
        results: the results folder.
        asked: the command that they answer, as for `write_record`.
        anew: whether to make them in any case.
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
    """Print the table, and where the other outputs are."""
    print_table_as(table, None)
    print(f"\nReport: {results / 'report.html'}\nTables: {results}/table.md, .csv, .tex\nPictures: {results / 'plots'}")


def print_table_as(table: Table, form: str | None) -> None:
    """Print a table of results, in a format of --format or, without one, for reading."""
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
        print(f"{len(failed)} failed; add --retry-failed to run them again")
