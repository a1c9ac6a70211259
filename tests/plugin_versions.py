"""The files that each shipped plugin is made of, and the versions under which their hashes were listed.

A run's identity holds the versions of its plugins, not their source: a fix that changes numbers but no version leaves
old results in place.  After a change of a plugin, of a module of its folder that it imports, or of its data:

    python tests/plugin_versions.py                              where its `version` was raised, or it is new
    python tests/plugin_versions.py --same-numbers ppo sac       where its numbers are the same as before
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ddpo_bench
from ddpo_bench import registry

ROOT = Path(ddpo_bench.__file__).parent
LIST = Path(__file__).with_suffix(".json")
SHARED = {"algorithm_bases", "embedded", "reward_bases"}  # rooms that plugins may import from, besides their own
DATA = {"prompts/words.py": "prompts/words/*.txt", "embedded/verifier.py": "embedded/model/verifier/*"}
Listed = dict[str, dict[str, Any]]  # "algorithm ppo" to its version and the hashes of its files


@dataclass(frozen=True)
class Made:
    """A plugin as it is now: its class, its version, and the hashes of its files by their place in the package."""

    cls: type
    version: int
    files: dict[str, str]


def plugins() -> dict[str, Made]:
    """Every shipped plugin by "kind name"."""
    found = {}
    for kind in registry.FOLDERS:
        for name in registry.names(kind):
            cls = registry.get(kind, name)
            if cls.__module__.startswith("ddpo_bench."):
                files = {path.relative_to(ROOT).as_posix(): digest(path) for path in files_of(cls)}
                found[f"{kind} {name}"] = Made(cls, getattr(cls, "version", 1), files)
    return found


def files_of(cls: type) -> list[Path]:
    """A plugin's file, the modules of its room and of `SHARED` that it or they import, and their data."""
    own = Path(inspect.getfile(cls))
    waiting, found = [own], set()
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting += [other for other in imported(path, {own.parent.name, *SHARED}) if other not in found]
    data = [path for module, pattern in DATA.items() if ROOT / module in found for path in ROOT.glob(pattern)]
    return sorted([*found, *data])


def imported(path: Path, rooms: set[str]) -> Iterator[Path]:
    """Files of these rooms that a module imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpo_bench."):
            for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
                file = ROOT.parent.joinpath(*name.split(".")).with_suffix(".py")
                if file.is_file() and file.relative_to(ROOT).parts[0] in rooms:
                    yield file


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def changed_files(made: Made, listed: dict[str, Any]) -> list[str]:
    """Files that were changed, added or removed since the list was written."""
    before = listed["files"]
    return sorted(name for name in before.keys() | made.files.keys() if before.get(name) != made.files.get(name))


def mistakes(now: dict[str, Made], listed: Listed, same_numbers: Set[str] = frozenset()) -> list[str]:
    """What keeps the list from being written: plugins that were changed under the same version, with the remedy."""
    found = []
    for key, made in now.items():
        before, name = listed.get(key), key.partition(" ")[2]
        files = changed_files(made, before) if before else []
        if files and made.version == before["version"] and name not in same_numbers:
            found.append(
                f"{key}: {', '.join(files)} changed, but its version is still {made.version}. If its numbers change, "
                f"write `version: ClassVar[int] = {made.version + 1}` in class {made.cls.__name__} and run "
                f"python tests/plugin_versions.py. If not, run "
                f"python tests/plugin_versions.py --same-numbers {name}."
            )
    return found


def stale(now: dict[str, Made], listed: Listed) -> list[str]:
    """Plugins of which the list says something else, once `mistakes` finds none."""
    return [key for key in sorted(now.keys() | listed.keys()) if as_listed(now.get(key)) != listed.get(key)]


def as_listed(made: Made | None) -> dict[str, Any] | None:
    return {"version": made.version, "files": made.files} if made else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same-numbers", nargs="+", default=[], metavar="NAME", help="plugins whose numbers stay")
    same_numbers = set(parser.parse_args().same_numbers)
    now = plugins()
    listed: Listed = json.loads(LIST.read_text()) if LIST.exists() else {}
    if unknown := same_numbers - {key.partition(" ")[2] for key in now}:
        print(f"no plugin is named {', '.join(sorted(unknown))}", file=sys.stderr)
        return 1
    if wrong := mistakes(now, listed, same_numbers):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    LIST.write_text(json.dumps({key: as_listed(made) for key, made in sorted(now.items())}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
