"""Where runs live below the folder of their suite: runs/<cell>-<hash12>/seed-<k>."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

PLAN = "suite.yaml"
EXPORTED = "run.yaml"  # the configuration of the run, in what was exported of it
SEARCHED = 3  # levels of folders below one in which results are looked for
CELL = re.compile(r"(?P<name>.+)-(?P<identity>[0-9a-f]{12})$")
SEED = re.compile(r"seed-(\d+)$")


class ResultsError(Exception):
    """Results that are missing or cannot be read; the message is one line with the file and the remedy."""


def run_folder(cell: str, identity: str, seed: int) -> Path:
    """Where a run lives below the folder of its suite."""
    return Path("runs", f"{cell}-{identity}", f"seed-{seed}")


def cell_of(folder: Path) -> str:
    """The name of a run's cell; of a folder that is named otherwise, all of its name."""
    match = CELL.match(folder.parent.name)
    return match["name"] if match else folder.parent.name


def identity_of(folder: Path) -> str:
    """The hash of a run's configuration, 12 digits; of a folder that is named otherwise, the end of its name."""
    return folder.parent.name[-12:]


def seed_of(folder: Path) -> int:
    return int(folder.name.removeprefix("seed-"))


def run_folders(results: Path) -> list[Path]:
    """All run folders of a suite, by cell and then by seed."""
    found = [folder for folder in results.glob("runs/*/seed-*") if SEED.match(folder.name)]
    return sorted(found, key=lambda folder: (folder.parent.name, seed_of(folder)))


def is_results(folder: Path) -> bool:
    """Whether a folder is a suite's results."""
    return (folder / PLAN).is_file() or any(folder.glob("runs/*/seed-*"))


def results_below(folder: Path, depth: int = SEARCHED) -> Iterator[Path]:
    """Results folders in the order of their names, without searching inside them or in hidden folders.

    Args:
        depth: levels of folders below `folder` that are searched.
    """
    if is_results(folder):
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from results_below(child, depth - 1)


def nothing_in(results: Path) -> str:
    """One line on a folder without runs, with the nearest folder that has some."""
    if any(results.glob("runs/*/seed-*")):
        return f"{results}: none of the runs that are to be compared has begun; see ddpo-bench status {results}."
    what = "holds no runs" if results.is_dir() else "no such folder"
    near = sorted({runs.parent for place in (results, results.parent) for runs in place.glob("*/runs")})
    names = difflib.get_close_matches(results.name, [path.name for path in near], n=1) or [path.name for path in near]
    hint = next(
        (f" Did you mean {path}?" for path in near if path.name == names[0]), " Make some: ddpo-bench run SUITE."
    )
    return f"{results}: {what}.{hint}"
