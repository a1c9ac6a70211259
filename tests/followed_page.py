"""A page of docs that builds a package of plugins: its blocks as files, and its commands."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ddpo_bench import cli, registry

DOCS = Path(__file__).parents[1] / "docs"


class Page:
    """A page whose package is called `package`; its YAML and TOML blocks begin with a comment that names their file."""

    def __init__(self, name: str, package: str):
        self.text, self.package = (DOCS / name).read_text(encoding="utf-8"), package

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, flags=re.DOTALL | re.MULTILINE)

    @property
    def modules(self) -> dict[str, str]:
        """File names to code: each stands under the path of its file."""
        named = rf"`{self.package}/(\w+\.py)`:\n\n```python\n(.*?)```"
        return dict(re.findall(named, self.text, flags=re.DOTALL))

    @property
    def entry_points(self) -> dict[str, dict[str, str]]:
        (text,) = self.blocks("toml")
        return tomllib.loads(text)["project"]["entry-points"]

    @property
    def commands(self) -> list[list[str]]:
        """Of ddpo-bench: the arguments of each."""
        return [shlex.split(line)[1:] for block in self.blocks("sh") for line in block.splitlines()]

    def run(self) -> None:
        for command in self.commands:
            assert cli.main(command) == 0, command

    def write(self, folder: Path) -> None:
        """The page's files, and what pip would add."""
        (folder / self.package).mkdir()
        for name, code in self.modules.items():
            (folder / self.package / name).write_text(code, encoding="utf-8")
        for text in self.blocks("yaml"):
            (folder / text.split()[1]).write_text(text, encoding="utf-8")
        about = folder / f"{self.package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.package}\n")
        ini = configparser.ConfigParser()
        ini.read_dict(self.entry_points)
        with (about / "entry_points.txt").open("w") as file:
            ini.write(file)

    @contextmanager
    def installed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """With its package installed in the current directory, and no other plugins than the shipped ones."""
        self.write(folder)
        monkeypatch.setattr(registry, "_known", {kind: shipped(kind) for kind in registry.FOLDERS})
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        registry.discover.cache_clear()
        yield
        registry.discover.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            del sys.modules[name]


def shipped(kind: str) -> dict[str, Any]:
    every = {name: registry.get(kind, name) for name in registry.names(kind)}
    return {name: plugin for name, plugin in every.items() if plugin.__module__.startswith("ddpo_bench.")}
