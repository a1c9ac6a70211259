"""The results folders as the browser shows them, read through `analysis` when a file has changed; writes nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.comparison import comparison
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.analysis.tables import Column, Row, Table
from ddpo_bench.analysis.tabulate import with_origin
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import ConfigError
from ddpo_bench.run_folder.places import PLAN, ResultsError
from ddpo_bench.serve.folders import free_name, runs, suites
from ddpo_bench.serve.run_view import RunSummary, finite, read_summary, silence, summary_of
from ddpo_bench.serve.stored_table import read_table
from ddpo_bench.sweep.lease import LEASE_SECONDS

PICTURE = re.compile(r"[\w.-]+\.png")
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class SuiteSummary:
    """One line of the list of suites.

    Attributes:
        total: runs; 0 where only the table of them is there.
        updated: when one of its files last changed, UTC in ISO 8601.
    """

    name: str
    done: int
    running: int
    failed: int
    total: int
    updated: str | None


@dataclass(frozen=True)
class Heading:
    """A column; `kind` is text, number or interval, and further ones are shown when asked for."""

    key: str
    label: str
    kind: str
    further: bool


@dataclass(frozen=True)
class Cell:
    """One value as text, and as numbers where it is one."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """One row; `runs` are the ids of what it is made of."""

    cells: dict[str, Cell]
    runs: list[str]


@dataclass(frozen=True)
class Picture:
    name: str
    url: str


@dataclass(frozen=True)
class SuiteView:
    """All that the gallery shows of a suite; `problem` is why there is no table."""

    name: str
    title: str
    columns: list[Heading]
    rows: list[Line]
    notes: list[str]
    problem: str | None
    pictures: list[Picture]
    runs: list[RunSummary]


class Gallery:
    """The suites and runs under some folders; may be asked from several threads."""

    def __init__(self, folders: Iterable[Path]):
        self.folders = list(folders)
        self.read: dict[str, tuple[Stamp, SuiteView]] = {}
        self.lock = Lock()  # one reader at a time: the second finds what the first has read

    def suites(self) -> dict[str, Path]:
        """Every suite by name, those of which only the table is there last."""
        found = suites(self.folders)
        for root in tables_only(self.folders, found.values()):
            found[free_name(root.name, found)] = root
        return found

    def runs(self) -> dict[str, Path]:
        """Every run folder by the run's id."""
        return runs(self.folders)

    def summaries(self) -> list[SuiteSummary]:
        """The suites, the one that changed last first."""
        listed = [self.summary(name, root) for name, root in self.suites().items()]
        return sorted(listed, key=lambda suite: suite.updated or "", reverse=True)

    def summary(self, name: str, root: Path) -> SuiteSummary:
        states = Counter(run.status for run in self.view(name, root).runs)
        newest = max((changed for _, changed, _ in stamp(root)), default=None)
        updated = None if newest is None else datetime.fromtimestamp(newest / 1e9, UTC).isoformat(timespec="seconds")
        failed = states["failed"] + states["damaged"]
        return SuiteSummary(name, states["done"], states["running"], failed, states.total(), updated)

    def suite(self, name: str) -> SuiteView:
        """All about one suite.

        Raises:
            KeyError: where there is none of that name.
        """
        return self.view(name, self.suites()[name])

    def view(self, name: str, root: Path) -> SuiteView:
        with self.lock:
            now = stamp(root)
            if self.read.get(name, ((), None))[0] != now:
                self.read[name] = now, suite_view(name, root, self.runs())
            return self.read[name][1]

    def changes(self) -> dict[str, Stamp]:
        """What tells of every run whether it has changed; looks at dates and sizes of files alone."""
        return {name: run_stamp(folder) for name, folder in self.runs().items()}

    def run_summary(self, name: str) -> RunSummary | None:
        """One line on a run; None where it is gone."""
        folder = self.runs().get(name)
        return read_summary(name, folder) if folder else None


def tables_only(folders: Iterable[Path], known: Iterable[Path]) -> Iterator[Path]:
    """Folders with a table of runs that are not there, at a given folder or directly below it."""
    seen = set(known)
    for folder in map(Path.resolve, folders):
        below = sorted(folder.iterdir()) if folder.is_dir() else []
        for root in (folder, *below):
            if root not in seen and (root / "table.csv").is_file():
                seen.add(root)
                yield root


def stamp(root: Path) -> Stamp:
    """Names, dates and sizes of a suite's files that are read."""
    files = [root / PLAN, root / "table.csv", root / "plots"]
    runs = sorted(root.glob("runs/*/seed-*"))
    return (*dated(files), *(each for run in runs for each in run_stamp(run)))


def run_stamp(folder: Path) -> Stamp:
    silent = silence(folder)
    dead = ((f"{folder.name} is silent", 0, 0),) if silent is not None and silent >= LEASE_SECONDS else ()
    return (*dated(folder / name for name in ("status.json", "metrics.jsonl", "config.yaml")), *dead)


def dated(files: Iterable[Path]) -> Stamp:
    found = []
    for file in files:
        try:
            seen = file.stat()
        except OSError:
            continue
        found.append((file.name, seen.st_mtime_ns, seen.st_size))
    return tuple(found)


def suite_view(name: str, root: Path, known: dict[str, Path]) -> SuiteView:
    """All about a suite, as far as its files can be read.

    Args:
        known: every run folder by id.
    """
    names = {folder: run for run, folder in known.items() if run.startswith(f"{name}/")}
    records: list[RunRecord] = []
    table, problem = None, None
    try:
        if (root / "runs").is_dir() or not (root / "table.csv").is_file():
            records = collect(root)
            table = with_origin(comparison(records, name), root, records)
        else:
            table = read_table(root)
    except (ResultsError, Damaged, ConfigError, OSError) as error:
        problem = str(error)
    read = {names.get(run.folder, id_of(name, run.folder)): run for run in records}
    summaries = [summary_of(run, record) for run, record in read.items()]
    summaries += [read_summary(run, folder) for folder, run in names.items() if run not in read and problem]
    pictures = [picture for picture in sorted(root.glob("plots/*.png")) if PICTURE.fullmatch(picture.name)]
    return SuiteView(
        name=name,
        title=table.title if table else name,
        columns=[heading(column) for column in table.columns] if table else [],
        rows=[line(table, row, read) for row in table.rows] if table else [],
        notes=list(table.notes) if table else [],
        problem=problem,
        pictures=[Picture(path.stem, f"api/suites/{name}/plots/{path.name}") for path in pictures],
        runs=summaries,
    )


def id_of(suite: str, folder: Path) -> str:
    """The id of a run that has no folder yet."""
    return f"{suite}/{folder.parent.name}/{folder.name}"


def heading(column: Column) -> Heading:
    counts = column.key in ("n", "queries")
    kind = "interval" if column.interval else "number" if column.digits or counts else "text"
    return Heading(column.key, column.heading, kind, column.part == "further")


def line(table: Table, row: Row, read: dict[str, RunRecord]) -> Line:
    """One row, with all the seeds of its cells, those that have not begun too."""
    keys = row.values["algorithm"], row.values["reward"]
    cells = {run.folder.parent for run in read.values() if run.config and (run.label, run.task) == keys}
    runs = [name for name, run in read.items() if run.folder.parent in cells]
    return Line({column.key: cell(table, row, column) for column in table.columns}, runs)


def cell(table: Table, row: Row, column: Column) -> Cell:
    value, text = row.values.get(column.key), table.cell(row, column)
    mark = row.rank if column.key == table.marked else ""
    if isinstance(value, Estimate):
        return Cell(text, finite(value.value), finite(value.low), finite(value.high), mark)
    return Cell(text, number(value), mark=mark)


def number(value: object) -> float | None:
    try:
        return finite(float(str(value)))
    except ValueError:
        return None
