"""Options: help, bounds and units travel with the field, and a configuration's numbers are held to them."""

from __future__ import annotations

import argparse
import dataclasses
import re
from dataclasses import MISSING, dataclass
from typing import Any

import pytest

from ddpo_bench.commands.command import seeds
from ddpo_bench.config import Evaluation, RunConfig, parse
from ddpo_bench.options import Bounds, is_required, option, options_of
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.registry import FOLDERS, get, names
from ddpo_bench.sweep.tune_block import Tune


@dataclass
class Settings:
    tau: float = option(0.5, "a step", above=0, maximum=1)
    widths: tuple[int, ...] = option((1, 2), "of layers", minimum=1, below=10, unit="units")
    names: list[str] = option([], "of things")
    ceiling: float | None = option(None, "none is no ceiling", minimum=0)


@dataclass
class Needy:
    path: str = option(MISSING, "of a file")


@pytest.mark.parametrize(
    ("data", "mistakes"),
    [
        ({"tau": 1, "widths": [9], "ceiling": None}, []),
        ({"tau": 2}, ["s.tau: must be above 0 and at most 1, got 2."]),
        ({"tau": 0}, ["s.tau: must be above 0 and at most 1, got 0."]),
        ({"tau": "nan"}, ["s.tau: must be a finite number, got nan."]),
        (
            {"widths": [3, 0, 10]},
            [f"s.widths[{i}]: must be at least 1 and below 10, got {w}." for i, w in ((1, 0), (2, 10))],
        ),
        ({"ceiling": -0.5}, ["s.ceiling: must be at least 0, got -0.5."]),
        (
            {"tau": -1, "ceiling": "many"},
            ["s.tau: must be above 0 and at most 1, got -1.", "s.ceiling: expected a number, got 'many'."],
        ),
    ],
)
def test_numbers_out_of_bounds_are_refused_each_with_its_place(data: dict[str, object], mistakes: list[str]) -> None:
    found: list[str] = []
    parse(Settings, data, "s", found)
    assert found == mistakes


def test_an_option_without_a_default_is_required() -> None:
    found: list[str] = []
    parse(Needy, {}, "n", found)
    assert found == ["n.path: is required."]
    assert is_required(options_of(Needy)["path"])
    assert not is_required(options_of(Settings)["names"])


def test_lists_are_not_shared() -> None:
    Settings().names.append("mine")
    assert Settings().names == []


def test_bounds_read_as_english() -> None:
    assert str(Bounds(above=0, maximum=1)) == "above 0 and at most 1"
    assert str(Bounds(minimum=1e-5)) == "at least 1e-05"
    assert str(Bounds()) == ""


CLASSES = [RunConfig, Evaluation, Tune, Adapter] + [get(kind, name) for kind in FOLDERS for name in names(kind)]
OPTIONS = [pytest.param(cls, f, id=f"{cls.__name__}.{f.name}") for cls in CLASSES for f in options_of(cls).values()]


@pytest.mark.parametrize(("cls", "field"), OPTIONS)
def test_every_option_has_help_and_every_number_both_its_bounds(cls: type, field: dataclasses.Field[Any]) -> None:
    assert field.metadata["help"].strip()
    bounds = field.metadata.get("bounds", Bounds())
    numeric = set(re.findall(r"\w+", str(field.type))) & {"int", "float", "Quantity"}
    has_both = None not in (bounds.lowest, bounds.highest)
    assert has_both == bool(numeric)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf"), -1e300, 1e300, 10**400])
@pytest.mark.parametrize(
    ("cls", "field"), [case for case in OPTIONS if str(case.values[1].type) in ("int", "float", "list[int]")]
)
def test_no_number_is_infinite_or_beyond_its_bounds(cls: type, field: dataclasses.Field[Any], value: object) -> None:
    found: list[str] = []
    parse(cls, {field.name: [value] if field.type == "list[int]" else value}, "there", found)
    assert any(line.startswith(f"there.{field.name}") for line in found)


@pytest.mark.parametrize("text", ["4294967296", "0-4294967295", "0-10000", "9" * 5000, "²", "3-1", "-1", ""])
def test_the_command_line_takes_the_same_seeds_as_a_file(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seeds(text)
    assert seeds("0-2,4294967295") == [0, 1, 2, 2**32 - 1]
