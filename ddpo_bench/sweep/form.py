"""The outer form of a suite file: its keys, before any run configuration in it is looked at."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddpo_bench.registry import unknown

KEYS = ("name", "base", "matrix", "seeds", "tune")


@dataclass
class Form:
    """The parts of a suite file that are well-formed, and what is wrong with the others."""

    name: str
    base: dict[str, Any]
    matrix: dict[str, list[Any]]
    seeds: list[int]
    mistakes: list[str]


def check_form(data: Mapping[str, Any], stem: str, fields: Mapping[str, dataclasses.Field[Any]]) -> Form:
    """Take a suite file apart, leaving out what is malformed so that the rest can be checked too.

    Args:
        stem: the suite's name where the file gives none.
        fields: of a run's configuration.
    """
    mistakes = [f"{key}: {unknown('key', key, KEYS)}" for key in data if key not in KEYS]
    return Form(
        name=check_name(data.get("name", stem), mistakes),
        base=check_base(data.get("base", {}), mistakes),
        matrix=check_matrix(data.get("matrix", {}), fields, mistakes),
        seeds=check_seeds(data.get("seeds"), mistakes),
        mistakes=mistakes,
    )


def covers(outer: str, inner: str) -> bool:
    """Whether dotted key `inner` is `outer` or lies inside it."""
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def check_name(name: Any, mistakes: list[str]) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        mistakes.append(f"name: {name!r} cannot name a folder. Use letters, digits, '.', '_' and '-', a letter first.")
    return str(name)


def check_base(base: Any, mistakes: list[str]) -> dict[str, Any]:
    if not isinstance(base, Mapping):
        mistakes.append(f"base: expected a mapping of run settings, got {base!r}.")
        return {}
    if "seed" in base:
        mistakes.append("base.seed: a suite's seeds are its own key. Write seeds: [...] beside base.")
    return {key: value for key, value in base.items() if key != "seed"}


def check_matrix(
    matrix: Any, fields: Mapping[str, dataclasses.Field[Any]], mistakes: list[str]
) -> dict[str, list[Any]]:
    if not isinstance(matrix, Mapping):
        mistakes.append(f"matrix: expected a mapping of keys to lists of values, got {matrix!r}.")
        return {}
    good = {}
    for key, values in matrix.items():
        if wrong := matrix_mistake(str(key), values, fields):
            mistakes.append(f"matrix.{key}: {wrong}")
        else:
            good[str(key)] = list(values)
    return good


def matrix_mistake(key: str, values: Any, fields: Mapping[str, dataclasses.Field[Any]]) -> str | None:
    first, dot, _ = key.partition(".")
    if first == "seed":
        return "a suite's seeds are its own key. Write seeds: [...] beside matrix."
    if first not in fields:
        return unknown("key", first, fields)
    if dot and isinstance(fields[first].default, (int, str)):
        return f"{first!r} has no keys inside. Write matrix.{first}."
    if not isinstance(values, list):
        return f"expected a list of values, got {values!r}. Write [{values}]."
    if not values:
        return "the list is empty. Give at least one value, or remove the key."
    return None


def check_seeds(seeds: Any, mistakes: list[str]) -> list[int]:
    if not isinstance(seeds, list) or not seeds:
        found = "" if seeds is None else f", got {seeds!r}"
        mistakes.append(f"seeds: give a list of whole numbers, for example [0, 1, 2]{found}.")
        return []
    for index, seed in enumerate(seeds):
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            mistakes.append(f"seeds[{index}]: expected a whole number from 0 up, got {seed!r}.")
        elif seed in seeds[:index]:
            mistakes.append(f"seeds[{index}]: {seed} is given twice. Remove one.")
    return seeds
