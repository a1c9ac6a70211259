"""`ddpo-bench status`: the progress of a sweep."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_storage
from ddpo_bench.commands.results_folder import add_results_folder, results_folder

if TYPE_CHECKING:
    from ddpo_bench.analysis.records import RunRecord
    from ddpo_bench.sweep.status import RunStatus, SweepStatus

STATES = ("running", "failed", "damaged", "killed", "queued")
EXAMPLES = """\
examples:
  ddpo-bench status algos                          progress while it runs, from any terminal
  ddpo-bench status results/algos                  the same suite, by its results folder
  ddpo-bench status suites/algos.yaml --results /shared/results
  ddpo-bench status algos --storage postgresql://user@host/studies

What the metrics of a run show to be wrong with it is told under "diagnosis" (docs/diagnosis.md).
It only reads, and can be used at any time, on any host that sees the results folder.
"""


def add_options(parser: ArgumentParser) -> None:
    add_results_folder(parser)
    add_storage(parser)


def execute(args: Namespace) -> int:
    from ddpo_bench.run_folder.places import ResultsError, is_results, nothing_in
    from ddpo_bench.sweep.status import sweep_status
    from ddpo_bench.tuning.status import tuning_lines

    root = results_folder(args.suite, args.results)
    if not is_results(root):
        if root == Path(args.suite):
            raise ResultsError(nothing_in(root))
        print(f"{root.name}: nothing has been run: there is no {root}. Start with: ddpo-bench run {args.suite}")
        return 0
    found = sweep_status(root, args.storage)
    print_status(found, list(tuning_lines(root, args.storage, found.name)))
    return 0


def print_status(found: SweepStatus, tuning: Sequence[str]) -> None:
    from ddpo_bench.analysis.diagnosis.findings import diagnosis

    counts, total = found.counts(), len(found.runs or found.others)
    rest = "".join(f", {counts[state]} {state}" for state in STATES if counts[state])
    print(f"{found.name}: {counts['done']}/{total} runs done{rest} ({found.root})")
    if tuning:
        print("tuning:\n  " + "\n  ".join(tuning))
    elif found.runs and found.others:
        runs = f"{len(found.others)} run{'s' * (len(found.others) > 1)}"
        print(f"and {runs} that the plan, as last written, does not hold")
    for state, line in LINES.items():
        if several := [run for run in found.all if run.state == state]:
            print(f"{state}:")
            for line_of_run in aligned([line(run) for run in several]):
                print(f"  {line_of_run}")
    if found_wrong := diagnosis(records_of(found)):
        print("diagnosis:\n  " + "\n  ".join(found_wrong))
    if any(counts[state] for state in ("running", "killed", "queued")):
        print(pace_and_time_left(found))
        if tuning and any(run.state == "running" for run in found.others):
            print("The trials that are still to come are not in this time.")


def records_of(found: SweepStatus) -> Iterator[RunRecord]:
    """The runs that have begun; files that are damaged hide no other run."""
    from ddpo_bench.analysis.records import read_run
    from ddpo_bench.checksummed import Damaged
    from ddpo_bench.config import ConfigError

    for run in found.runs or found.others:
        if run.state not in ("queued", "damaged"):
            with suppress(Damaged, ConfigError):
                yield read_run(run.folder)


def line_of_running(run: RunStatus) -> list[str]:
    row = run.news
    reward = f"reward {row['reward_mean']:.4g}" if "reward_mean" in row else "no reward yet"
    speed = f"{row['images_per_second']:.3g} images/s" if "images_per_second" in row else ""
    sampled = row["now"].get("sampled")
    doing = f"{sampled} sampled" if sampled else ""
    shown = "no heartbeat" if run.heartbeat is None else f"heartbeat {run.heartbeat:.0f} s ago"
    epoch = max(run.epoch, row.get("epoch", 0))  # status.json is written after the row and its checkpoint
    return [run.name, run.worker or "", f"epoch {epoch}/{run.epochs}", reward, speed, doing, shown + dead(run)]


def dead(run: RunStatus) -> str:
    return "" if run.alive else ", dead?"


def line_of_failed(run: RunStatus) -> list[str]:
    """The reason in one line, and the log with more."""
    reason = str(run.status.get("reason") or "no reason given").partition("\n")[0]
    logs = [run.folder / name for name in ("error.log", "output.log")]
    return [run.name, reason, f"see {next((log for log in logs if log.exists()), run.folder)}"]


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of columns; a column that is empty in all of them is left out."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        lines.append("  ".join(cells).rstrip())
    return lines


def pace_and_time_left(found: SweepStatus) -> str:
    """The speed of the sweep, and the time left."""
    from ddpo_bench.sweep.estimate import duration

    workers, seconds = found.at_work(), found.seconds_left()
    left = "not known before an epoch is finished" if seconds is None else f"about {duration(seconds)}"
    if not workers:
        return f"no worker is running; time left for one worker: {left}"
    speed = sum(run.news.get("images_per_second", 0.0) for run in workers)
    hands = f"{len(workers)} worker{'s' * (len(workers) > 1)}"
    pace = f"{speed:.3g} images/s while sampling, " if speed else ""
    return f"{pace}{hands} at work; time left: {left}"


LINES = {"running": line_of_running, "failed": line_of_failed, "damaged": line_of_failed}
COMMAND = Command("show the progress of a sweep", EXAMPLES, add_options, execute)
