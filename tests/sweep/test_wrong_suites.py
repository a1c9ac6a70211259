"""Two hundred generated mistakes: each is refused in lines that name file, key and remedy, without a traceback."""

from __future__ import annotations

import copy
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ddpo_bench import cli

GOOD: dict[str, Any] = {
    "name": "good",
    "base": {
        "policy": {"name": "stable_diffusion", "guidance_scale": 2.0, "adapter": {"name": "lora", "rank": 4}},
        "sampler": {"name": "ddim", "steps": 5, "eta": 1.0},
        "prompts": {"name": "simple_animals"},
        "advantages": {"name": "per_prompt", "clip": 5.0},
        "evaluation": {"samples": 16},
        "epochs": 2,
        "samples_per_epoch": 8,
        "micro_batch": 4,
    },
    "matrix": {
        "algorithm": [{"name": "ppo", "clip_range": 1e-3}, {"name": "trpo_penalty", "max_kl": 0.01}, "frozen"],
        "reward": ["jpeg_compressibility", "jpeg_incompressibility"],
    },
    "seeds": [0, 1],
    "tune": {
        "trials": 4,
        "seeds": [100, 101],
        "sampler": "tpe",
        "constraints": {"kl": {"max": 100.0}},
        "space": {"algorithm.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}},
    },
}
Path_ = tuple[str | int, ...]


def leaves(data: Any, path: Path_ = ()) -> list[Path_]:
    """Paths of all scalars."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    return [path] if items is None else [leaf for key, value in items for leaf in leaves(value, (*path, key))]


def mappings(data: Any, path: Path_ = ()) -> list[Path_]:
    """Paths of all mappings."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    inner = [found for key, value in items for found in mappings(value, (*path, key))]
    return [path, *inner] if isinstance(data, dict) else inner


def at(data: Any, path: Path_) -> Any:
    for key in path:
        data = data[key]
    return data


@st.composite
def wrong_suites(draw: st.DrawFn) -> dict[str, Any]:
    """The good suite with one mistake."""
    data = copy.deepcopy(GOOD)
    kind = draw(st.sampled_from(["unknown key", "misspelt key", "wrong type", "impossible number", "unknown name"]))
    if kind == "unknown key":
        key = draw(st.text(string.ascii_lowercase, min_size=3, max_size=12)) + "_x"
        at(data, draw(st.sampled_from(mappings(data))))[key] = 1
    elif kind == "misspelt key":
        *parents, last = draw(st.sampled_from([leaf for leaf in leaves(data) if isinstance(leaf[-1], str)]))
        home = at(data, tuple(parents))
        position = draw(st.integers(0, len(str(last)) - 1))
        home[f"{str(last)[:position]}q{str(last)[position:]}"] = home.pop(last)
    elif kind == "wrong type":
        *parents, last = draw(st.sampled_from(leaves(data)))
        at(data, tuple(parents))[last] = draw(st.sampled_from([None, [[1]], {"a": {"b": 1}}, True, "12 apples"]))
    elif kind == "impossible number":
        path = draw(st.sampled_from([leaf for leaf in leaves(data) if isinstance(at(data, leaf), (int, float))]))
        free = {
            "guidance_scale",
            "clip",
            "rank",
            "max",
        }  # negative ones mean something, or are their library's to judge
        numbers = [leaf for leaf in [path] if leaf[-1] not in free] or [("base", "epochs")]
        at(data, numbers[0][:-1])[numbers[0][-1]] = draw(st.integers(-1000, -1))
    else:
        path = draw(st.sampled_from([leaf for leaf in leaves(data) if leaf[-1] == "name" and len(leaf) > 1]))
        at(data, path[:-1])["name"] = draw(st.text(string.ascii_lowercase, min_size=1, max_size=9)) + "0"
    return data


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(wrong_suites())
def test_every_wrong_suite_is_refused_in_lines_that_name_file_key_and_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: dict[str, Any]
) -> None:
    assume(data != GOOD)
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
