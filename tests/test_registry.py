"""Plugins by kind and name."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from dataclasses import dataclass
from typing import Any

import pytest

from ddpo_bench import registry
from ddpo_bench.registry import FOLDERS, UnknownName, get, names, register, unknown


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_known", {kind: dict(known) for kind, known in registry._known.items()})


EVERY = [(kind, name) for kind in FOLDERS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_plugin_is_a_dataclass_with_a_line_that_says_what_it_is(kind: str, name: str) -> None:
    plugin = get(kind, name)
    assert dataclasses.is_dataclass(plugin)
    first = (plugin.__doc__ or "").strip().partition("\n")[0]
    assert first
    assert not first.startswith(f"{plugin.__name__}(")  # what dataclasses generate


def test_names_are_sorted() -> None:
    assert all(names(kind) == sorted(names(kind)) for kind in FOLDERS)


def test_an_unknown_name_comes_with_the_nearest_one_and_all_that_exist() -> None:
    with pytest.raises(UnknownName) as raised:
        get("algorithm", "pppo")
    assert str(raised.value).startswith("unknown algorithm 'pppo'. Did you mean 'ppo'? Known: awm, ")
    assert unknown("colour", "xyz", ["red"]) == "unknown colour 'xyz'. Known: red."
    assert unknown("colour", "xyz", []) == "unknown colour 'xyz'. Known: none."


@pytest.mark.usefixtures("clean")
def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match=r"algorithm 'ppo' is already registered by ddpo_bench\.algorithms\.ppo\.PPO"):

        @register("algorithm", "ppo")
        class Other:
            pass


@pytest.mark.usefixtures("clean")
def test_no_option_hides_the_version_that_belongs_to_a_runs_identity() -> None:
    @dataclass
    class Versioned:
        version: str = "v2"

    with pytest.raises(ValueError, match=r"reward 'versioned': `version` is the version of a plugin's code"):
        register("reward", "versioned")(Versioned)


@pytest.mark.usefixtures("clean")
def test_a_module_may_be_imported_again() -> None:
    plugin = get("algorithm", "ppo")
    assert register("algorithm", "ppo")(plugin) is plugin


@pytest.mark.usefixtures("clean")
def test_plugins_of_other_packages_are_found_by_their_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Theirs:
        """Somebody else's."""

    class Entry:
        name = "theirs"

        def load(self) -> Any:
            return Theirs

    found = {"ddpo_bench.reward": [Entry()]}
    monkeypatch.setattr(registry, "entry_points", lambda group: found.get(group, []))
    registry.discover.__wrapped__("reward")
    assert get("reward", "theirs") is Theirs
    assert importlib.metadata.entry_points(group="ddpo_bench.no_such_kind") == ()
