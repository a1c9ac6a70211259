"""The suites, runs and exports below the folders that are served, by the names under which a client asks for them.

A client's text is only ever looked up among these names, never made part of a path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from ddpo_bench.run_folder.places import SEED, cell_of, results_below, run_folders

EXPORTED = "run.yaml"  # in every exported folder: the configuration of its run


def suites(folders: Iterable[Path]) -> dict[str, Path]:
    """Results folders by name; of several of one name the later ones have a number."""
    found: dict[str, Path] = {}
    for root in dict.fromkeys(root.resolve() for folder in folders for root in results_in(folder)):
        found[free_name(root.name, found)] = root
    return found


def runs(folders: Iterable[Path]) -> dict[str, Path]:
    """Run folders by `suite/cell/seed-k`; of two cells of one name in a suite, `cell` is the whole name of the folder."""
    folders = list(folders)
    found = {run: suite for suite, root in suites(folders).items() for run in run_folders(root)}
    for folder in map(Path.resolve, folders):
        if is_run(folder):
            found.setdefault(folder, folder.parents[2].name)
    cells = {run.parent: suite for run, suite in found.items()}
    alike = Counter((suite, cell_of(cell / "seed")) for cell, suite in cells.items())
    return {f"{suite}/{name_in(suite, run, alike)}/{run.name}": run for run, suite in found.items()}


def name_in(suite: str, run: Path, alike: Counter[tuple[str, str]]) -> str:
    return cell_of(run) if alike[suite, cell_of(run)] == 1 else run.parent.name


def exports(folders: Iterable[Path]) -> dict[str, Path]:
    """Folders that `ddpo-bench export` wrote, by `lora/<name>` of the folder."""
    found: dict[str, Path] = {}
    for folder in map(Path.resolve, folders):
        if is_export(folder):
            found[free_name(f"lora/{folder.name}", found)] = folder
    return found


def is_run(folder: Path) -> bool:
    return bool(SEED.match(folder.resolve().name)) and (folder / "config.yaml").is_file()


def is_export(folder: Path) -> bool:
    return (folder / EXPORTED).is_file()


def results_in(folder: Path) -> Iterator[Path]:
    """Results folders at or below a folder; none where it is a run or an export, or is not there."""
    if folder.is_dir() and not is_run(folder) and not is_export(folder):
        yield from results_below(folder)


def free_name(name: str, taken: Iterable[str]) -> str:
    return next(each for number in count(1) if (each := name if number == 1 else f"{name}-{number}") not in taken)
