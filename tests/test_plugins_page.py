"""docs/plugins.md followed to the letter: its package is installed, listed, validated and trained with."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from every_plugin import MADE_UP
from run_rows import rows_of

from ddpo_bench import cli, registry

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`my_plugins/(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, flags=re.DOTALL))


def block(language: str) -> str:
    """The page's only block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return text


@pytest.fixture
def entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, str]]]:
    """The page's package, installed in the current directory, with no other plugins than the shipped ones."""
    named = tomllib.loads(block("toml"))["project"]["entry-points"]
    (tmp_path / "my_plugins").mkdir()
    for name, code in FILES.items():
        (tmp_path / "my_plugins" / name).write_text(code, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(block("yaml"))
    (tmp_path / "my_plugins-1.0.dist-info").mkdir()  # as pip would write it
    (tmp_path / "my_plugins-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugins\n")
    ini = configparser.ConfigParser()
    ini.read_dict(named)
    with (tmp_path / "my_plugins-1.0.dist-info" / "entry_points.txt").open("w") as file:
        ini.write(file)
    every = {kind: {name: registry.get(kind, name) for name in registry.names(kind)} for kind in registry.FOLDERS}
    shipped = {
        kind: {name: plugin for name, plugin in known.items() if plugin.__module__.startswith("ddpo_bench.")}
        for kind, known in every.items()
    }
    monkeypatch.setattr(registry, "_known", shipped)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registry.discover.cache_clear()
    yield named
    registry.discover.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_plugins"]:
        del sys.modules[name]


def test_its_files_are_those_that_the_contract_tests_cover() -> None:
    for name, code in FILES.items():
        assert code == (MADE_UP / name).read_text(encoding="utf-8"), f"copy tests/plugins/{name} into docs/plugins.md"


def test_it_has_a_plugin_of_every_kind_and_its_commands_train_with_all_of_them(
    entry_points: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert entry_points.keys() == {f"ddpo_bench.{kind}" for kind in registry.FOLDERS}
    for kind in registry.FOLDERS:
        assert entry_points[f"ddpo_bench.{kind}"].keys() <= set(registry.names(kind))
    commands = block("sh").splitlines()
    assert [shlex.split(command)[1] for command in commands] == ["list", "validate", "train"]
    for command in commands:
        assert cli.main(shlex.split(command)[1:]) == 0, command
    assert [row["epoch"] for row in rows_of(tmp_path / "my-run") if "queries" in row] == [1, 2]
