"""The suites, runs and exports below the folders that are served, by the names under which a client asks for them.

A client's text is only ever looked up among these names, never made part of a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from ddpo_bench.run_folder.places import EXPORTED, SEED, results_below, run_folders


def suites(folders: Iterable[Path]) -> dict[str, Path]:
    """Results folders by name; of several of one name the later ones have a number."""
    found: dict[str, Path] = {}
    for root in dict.fromkeys(root.resolve() for folder in folders for root in results_in(folder)):
        found[free_name(root.name, found)] = root
    return found


def runs(folders: Iterable[Path]) -> dict[str, Path]:
    """Run folders by `suite/cell/seed-k`, where `cell` is the folder's name with its hash."""
    return {
        f"{name}/{run.parent.name}/{run.name}": run
        for name, root in suites(folders).items()
        for run in run_folders(root)
    }


def exports(folders: Iterable[Path]) -> dict[str, Path]:
    """Folders that `ddpo-bench export` wrote, by `lora/<name>` of the folder."""
    found: dict[str, Path] = {}
    for folder in map(Path.resolve, folders):
        if is_export(folder):
            found[free_name(f"lora/{folder.name}", found)] = folder
    return found


def results_in(folder: Path) -> Iterator[Path]:
    """Results folders at or below a folder; of a run, the one that it is in; none where there is no such folder."""
    folder = folder.resolve()
    if SEED.match(folder.name) and folder.parents[1].name == "runs":
        yield folder.parents[2]
    elif folder.is_dir() and not is_export(folder):
        yield from results_below(folder)


def is_export(folder: Path) -> bool:
    return (folder / EXPORTED).is_file()


def free_name(name: str, taken: Iterable[str]) -> str:
    return next(each for number in count(1) if (each := name if number == 1 else f"{name}-{number}") not in taken)
