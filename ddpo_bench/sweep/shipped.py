"""The suites that come with the package, so that `ddpo-bench run smoke` works wherever it was installed."""

from __future__ import annotations

from pathlib import Path

from ddpo_bench.config import ConfigError
from ddpo_bench.registry import unknown

PACKAGE = Path(__file__).parents[1]


def find_suite(name: str) -> Path:
    """The file that a path or a shipped suite's name means.

    Raises:
        ConfigError: with the nearest shipped name.
    """
    shipped = shipped_suites()
    if Path(name).is_file():
        return Path(name)
    if name in shipped:
        return shipped[name]
    if Path(name).is_dir():
        raise ConfigError([f"{name}: is a folder. Give a suite's YAML file, or a shipped suite: {', '.join(shipped)}."])
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    raise ConfigError([f"{name}: no such file; {unknown('shipped suite', stem, shipped)}"])


def shipped_suites() -> dict[str, Path]:
    """The shipped suites' files by their names."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml"))}


def folder() -> Path:
    """`suites` in an installed package; next to the package in a checkout."""
    inside = PACKAGE / "suites"
    return inside if inside.is_dir() else PACKAGE.parent / "suites"
