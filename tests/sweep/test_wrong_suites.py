"""A hundred generated mistakes: each is refused in lines that name file, key and remedy, without a traceback."""

from __future__ import annotations

import copy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddpo_bench import cli
from ddpo_bench.sweep.shipped import find_suite

GOOD: dict[str, Any] = yaml.safe_load(find_suite("algos-tuned").read_text())
WRONG_TYPES = [None, [[1]], {"a": {"b": 1}}, True, "12 apples"]


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all scalars."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    return [path] if items is None else [leaf for key, value in items for leaf in leaves(value, (*path, key))]


@st.composite
def wrong_suites(draw: st.DrawFn) -> dict[str, Any]:
    """The good suite with one mistake: a misspelt key, an unknown one, a value of a wrong type or an unknown name."""
    data = copy.deepcopy(GOOD)
    *parents, last = draw(st.sampled_from(leaves(data)))
    home = reduce(getitem, parents, data)
    kinds = ["wrong type"] + ["misspelt", "unknown"] * isinstance(last, str) + ["name"] * (last == "name")
    kind = draw(st.sampled_from(kinds))
    if kind == "misspelt":
        position = draw(st.integers(0, len(last) - 1))
        home[f"{last[:position]}q{last[position:]}"] = home.pop(last)
    elif kind == "unknown":
        home["nonsense_x"] = 1
    else:
        home[last] = "no such thing" if kind == "name" else draw(st.sampled_from(WRONG_TYPES))
    return data


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(wrong_suites().filter(lambda data: data != GOOD))
def test_every_wrong_suite_is_refused_in_lines_that_name_file_key_and_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: dict[str, Any]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data))
    assert cli.main(["validate", str(path)]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines
    for line in lines:
        assert line.startswith(f"{path}: ")
        key, _, remedy = line.removeprefix(f"{path}: ").partition(": ")
        assert key
        assert len(remedy) > 10
        assert line.endswith((".", "?", "]"))
    assert "Traceback" not in captured.err + captured.out
