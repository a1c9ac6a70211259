"""Options: help, bounds and units travel with the field, and a configuration's numbers are held to them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

import pytest

from ddpo_bench.config import parse
from ddpo_bench.options import Bounds, is_required, option, options_of


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
