"""The files of a user's module: its own and those next to it that it imports, found without running them."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ddpo_bench.fingerprints import file_hash, hashes

LIBRARIES = {"site-packages", "dist-packages", Path(sysconfig.get_path("stdlib")).name}
OURS = {"ddpo_bench", "ddpo_kernels"}  # known by the versions that plugins declare


def sources(module: ModuleType) -> dict[str, str]:
    """Hashes of a module's file and, recursively, of what it imports from the same place; imports in functions count.

    Of an installed package only its own files count, not the libraries installed next to it.
    """
    if not (name := getattr(module, "__file__", None)):
        return {}
    file, parts = Path(name), module.__name__.split(".")
    root = file.parents[len(parts) - (file.stem != "__init__")]
    installed = not LIBRARIES.isdisjoint(root.parts)
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting += [
            other
            for other in imported_files(file, root, file_hash(file))
            if other not in found and (not installed or other.relative_to(root).parts[0] == parts[0])
        ]
    return hashes(root, found)


@lru_cache(maxsize=1024)
def imported_files(file: Path, root: Path, content: str) -> tuple[Path, ...]:
    """Files below `root` that a module imports.

    Args:
        content: hash of the file, so that it is read again when it has changed.
    """
    if file.suffix != ".py":
        return ()
    names = {name for name in imported_names(file, root) if name.partition(".")[0] not in OURS}
    return tuple(found for name in names if (found := module_file(root, name)))


def module_file(root: Path, name: str) -> Path | None:
    """Where a module's source would be found below a folder of the import path."""
    place = root.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def imported_names(file: Path, root: Path) -> Iterator[str]:
    """Dotted names that may be modules, their packages included; none where the file does not parse."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = file.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" if base else alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
