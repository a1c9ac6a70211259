"""YAML of any form is read as plain values, or refused in one line with its file and its line."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddpo_bench.config import ConfigError
from ddpo_bench.files import plain_yaml
from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.suite import load_suite
from ddpo_bench.yaml_file import apply_overrides, load_yaml


def read(folder: Path, content: str | bytes) -> dict[str, Any]:
    path = folder / "a.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_yaml(path)


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(ConfigError) as raised:
        read(folder, content)
    (line,) = raised.value.mistakes
    assert "\n" not in line
    return line.removeprefix(f"{folder}/a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("No", "No"), ("true", True), ("FALSE", False), ("null", None), ("~", None),
        ("", None), ("2024-01-31", "2024-01-31"), ("1:30", "1:30"), ("1e3", "1e3"), ("1.0e+3", 1000.0),
        ("1_000", 1000), ("0x10", 16), ("0b11", 3), ("0", 0), ("-7", -7), ("+7", 7), ("09", "09"), ("0o10", "0o10"),
        ("=", "="), (".5", 0.5), ("'10'", "10"), ("9" * 70, "9" * 70),
    ],
)  # fmt: skip
def test_plain_values_mean_what_they_look_like(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["yes", "1e3", "09", "0o10", "2024-01-31", "1:30", "1_0", "010", "~", "=", "é", ".5", ""]
)
def test_text_that_we_write_comes_back_as_text(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, plain_yaml({text or "empty": text})) == {text or "empty": text}


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a: 010\n", 1, "010 would be octal in YAML 1.1 and decimal in YAML 1.2; write 8 or 10."),
        ("b: 1\n? [a]\n: 1\n", 2, "the key that is a list or mapping is not text; quote it."),
        ("b: 1\n{c: d}: 1\n", 2, "the key that is a list or mapping is not text; quote it."),
        ("b: {1: 2}\n", 1, "the key '1' is not text; quote it."),
        ("~: 2\n", 1, "the key '~' is not text; quote it."),
        ("a: 1\nb: 2\na: 3\n", 3, "key 'a' is given twice."),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document in the stream, but found another document."),
        (
            "a:\n\t- b\n",
            2,
            "while scanning for the next token, found character '\\t' that cannot start any token. Indent",
        ),
        ("x: 1\na: !!python/name:os.system\n", 2, "the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed"),
        ("a: !!int abc\n", 1, "the tag 'tag:yaml.org,2002:int' is not allowed"),
        ("a: !!set {b}\n", 1, "the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("a: *b\n", 1, "found undefined alias 'b'."),
        ("x: 1\na: &a [*a]\n", 2, "an alias refers to a value that contains it."),
        ("a: &a {b: {c: *a}}\n", 1, "an alias refers to a value that contains it."),
        ("<<: 3\n", 1, "while constructing a mapping, expected a mapping or list of mappings for merging"),
        ("a: " + "[" * 60 + "]" * 60, 1, "it is nested deeper than 50 levels."),
        ("a: " + "[" * 100_000, 1, "it is nested deeper than 50 levels."),
        ("a: [1\n", 2, "while parsing a flow sequence, expected ',' or ']'"),
        ("a: 1\nb: \x07\n", 2, "the character"),
        ('a: 1\nb: "\\0"\n', 2, "text may not contain NUL"),
        ('a: "\\ud800"\n', 1, "text may not contain"),
    ],
)
def test_what_is_not_yaml_of_plain_values_is_refused_with_its_line(
    tmp_path: Path, content: str, line: int, problem: str
) -> None:
    assert refusal(tmp_path, content).startswith(f", line {line}: not valid YAML: {problem}")


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", ": is empty; it must hold a mapping of keys."),
        (b"# nothing\n", ": is empty; it must hold a mapping of keys."),
        (b"- a\n", ": must hold a mapping of keys, found list."),
        (b"a: 1\nb: caf\xe9\n", ", line 2: cannot be read as text. Save the file in UTF-8."),
        (b"\xff\xfe\x00", ", line 1: cannot be read as text. Save the file in UTF-8."),
    ],
)
def test_what_holds_no_keys_is_refused_by_its_file(tmp_path: Path, content: bytes, mistake: str) -> None:
    assert refusal(tmp_path, content) == mistake


def test_aliases_that_multiply_are_refused_before_they_do(tmp_path: Path) -> None:
    names = "abcdefghij"
    lists = [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in itertools.pairwise(names)]
    merges = [
        f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}" for before, name in itertools.pairwise(names)
    ]
    assert "its aliases expand to too many values" in refusal(tmp_path, "\n".join(["a: &a [1]", *lists]))
    assert "its aliases expand to too many values" in refusal(tmp_path, "\n".join(["a: &a {b: 1}", *merges]))


def test_anchors_and_merge_keys_may_be_used(tmp_path: Path) -> None:
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x, *x]\n"
    assert read(tmp_path, text) == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": [{"a": 1, "b": 2}] * 2}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, "a: é\r\n".encode(encoding)) == {"a": "é"}


@pytest.mark.parametrize(
    "text", ["{1: 2}", "[1", "010", "!!python/name:os.system", "[" * 99, "&a [*a]", "{a: 1, a: 2}"]
)
def test_a_value_of_the_command_line_is_held_to_the_same(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set a=.* is not a YAML value: ") as raised:
        apply_overrides({}, [f"a={text}"])
    assert "\n" not in str(raised.value)


SUITE = """\
name: mine
base:
  policy: {name: stable_diffusion, adapter: {name: lora, rank: 2}, guidance_scale: 2.0}
  sampler: {steps: 4}
  evaluation: {samples: 8}
  epochs: 2
matrix:
  setup:
    - {label: one, algorithm: ppo, samples_per_prompt: 1}
    - {label: two, algorithm: {name: ppo, learning_rate: 1e-3}, advantages: group, samples_per_prompt: 8}
  reward: [jpeg_compressibility, {name: target_colour, colour: red}]
seeds: [0, 1]
tune:
  space: {algorithm.learning_rate: {low: 1e-5, high: 1e-2, log: true}}
  trials: 2
  seeds: [100, 101]
  constraints: {kl: {max: 5}}
"""
VALUES = [
    None, True, -1, 0, 0.5, 10**30, 10**400, "nan", float("nan"), float("inf"), "", "a\nb", "é", "x" * 300, "1e999",
    [], [[]], [None], {}, {"name": 3}, {"name": "ppo"}, {"label": "one"}, {"low": 0, "high": "nan"}, {"choices": [{}]},
]  # fmt: skip
KEYS = ["", ".", "a.b", "seed", "setup", "label", "name", "algorithm", "sampler.steps", "reward.colour", "tune", "k\nl"]


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a nested structure."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in ((*path, key), *places(value, (*path, key)))]


def changed(change: tuple[int, str, Any, str], data: dict[str, Any]) -> None:
    where, kind, value, key = change
    paths = places(data)
    *parents, last = paths[where % len(paths)]
    target: Any = data
    for parent in parents:
        target = target[parent]
    if kind == "replace":
        target[last] = copy.deepcopy(value)
    elif kind == "delete":
        del target[last]
    elif isinstance(target, dict):
        target[key] = copy.deepcopy(value)


CHANGES = st.tuples(
    st.integers(0, 10**6), st.sampled_from(["replace", "delete", "add"]), st.sampled_from(VALUES), st.sampled_from(KEYS)
)


def plan_or_refusal(path: Path) -> None:
    mistakes = None
    try:
        runs_of(load_suite(path))
    except ConfigError as error:
        mistakes = error.mistakes
    assert mistakes != []
    assert all(mistake.startswith(str(path)) and "\n" not in mistake for mistake in mistakes or ())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suites") / "mine.yaml"
    path.write_text(SUITE)
    assert len(runs_of(load_suite(path))) == 8
    return path


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
def test_a_suite_with_changed_values_is_a_plan_or_refused_by_its_file(file: Path, changes: list[Any]) -> None:
    data = yaml.safe_load(SUITE)
    for change in changes:
        if places(data):
            changed(change, data)
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    plan_or_refusal(file)


PIECES = [
    "\t",
    "\n",
    " ",
    "-",
    ":",
    ": ",
    "*x",
    "&x ",
    "!!set ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "#",
    "---\n",
    "<<: ",
    "\\",
    "%",
    "é",
    "\x00",
]


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SUITE)), st.integers(0, 3), st.sampled_from(PIECES)), min_size=1, max_size=3
    )
)
def test_a_suite_with_changed_text_is_a_plan_or_refused_by_its_file(
    file: Path, edits: list[tuple[int, int, str]]
) -> None:
    text = SUITE
    for position, removed, added in edits:
        text = text[:position] + added + text[position + removed :]
    file.write_text(text)
    plan_or_refusal(file)
