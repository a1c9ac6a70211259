"""The outer form of a suite file: its keys, before any run configuration in it is read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any

from ddpo_bench.options import LARGEST_SEED, MOST_SEEDS, brief, option
from ddpo_bench.parsing import well_formed
from ddpo_bench.registry import unknown
from ddpo_bench.sweep.matrix import LABEL, LONGEST_VALUE, SETUP, covers, settings_of

Fields = Mapping[str, dataclasses.Field[Any]]  # of a run's configuration


@dataclass(frozen=True, kw_only=True)
class SuiteFile:
    """The keys of a suite file."""

    name: str = option("", "name of the results folder; by default that of the file")
    base: dict = option({}, "keys of a run that all runs share, except seed")
    matrix: dict = option(
        {}, "mapping of keys of a run to lists of values; a value of `setup` sets several keys at once"
    )
    seeds: list[int] = option(MISSING, "seeds of every cell", minimum=0, maximum=LARGEST_SEED)
    tune: dict | None = option(None, "search for settings of each cell before its runs")


def read_form(data: Mapping[str, Any], stem: str, fields: Fields, mistakes: list[str]) -> SuiteFile:
    """The parts of a suite file that are well-formed, so that they can be checked too where others are not.

    Args:
        stem: the suite's name where the file gives none.
        fields: of a run's configuration.
        mistakes: the list to append to.
    """
    good = well_formed(SuiteFile, data, "", mistakes)
    form = SuiteFile(**{"name": stem, "seeds": [], **good})
    if wrong := name_mistake(form.name):
        mistakes.append(f"name: {wrong}")
    if "seed" in form.base:
        mistakes.append("base.seed: a suite's seeds are its own key. Write seeds: [...] next to base.")
    mistakes += seeds_mistakes(form.seeds) if "seeds" in good else []
    base = {key: value for key, value in form.base.items() if key != "seed"}
    return replace(form, base=base, matrix=good_matrix(form.matrix, fields, mistakes))


def name_mistake(name: Any) -> str | None:
    """Why something cannot name a folder of results, or a part of one."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        return f"{brief(name)} cannot name a folder. Use letters, digits, '.', '_' and '-', a letter or digit first."
    if len(name) > LONGEST_VALUE:
        return f"is {len(name)} characters long; at most {LONGEST_VALUE} are allowed."
    return None


def seeds_mistakes(seeds: Sequence[int]) -> list[str]:
    if not seeds:
        return ["seeds: give a list of whole numbers, for example [0, 1, 2]."]
    if len(seeds) > MOST_SEEDS:
        return [f"seeds: {len(seeds)} are given; at most {MOST_SEEDS} are allowed."]
    twice = (index for index, seed in enumerate(seeds) if seed in seeds[:index])
    return [f"seeds[{index}]: {seeds[index]} is given twice. Remove one." for index in twice]


def good_matrix(matrix: Mapping[str, Any], fields: Fields, mistakes: list[str]) -> dict[str, list[Any]]:
    """The keys of a matrix whose lists are well-formed."""
    good: dict[str, list[Any]] = {}
    for key, values in matrix.items():
        if wrong := (None if key == SETUP else key_mistake(key, "matrix", fields)) or list_mistake(values):
            mistakes.append(f"matrix.{key}: {wrong}")
        elif own := setup_mistakes(values, fields) if key == SETUP else []:
            mistakes += own
        else:
            good[key] = list(values)
    mistakes += crossing_mistakes(good, fields)
    return good


def key_mistake(key: str, place: str, fields: Fields) -> str | None:
    """Why a dotted key is not one of a run's configuration, or not one that may vary."""
    first, dot, _ = key.partition(".")
    if first == "seed":
        return "a suite's seeds are its own key. Write seeds: [...] next to matrix."
    if first not in fields:
        return unknown("key", first, [*fields, SETUP])
    if dot and isinstance(fields[first].default, (int, float, str)):
        return f"{first!r} has no keys inside. Write {place}.{first}."
    return None


def list_mistake(values: Any) -> str | None:
    if not isinstance(values, list):
        return f"expected a list, got {brief(values)}. Write {brief([values])}."
    if not values:
        return "the list is empty. Give at least one value, or remove the key."
    return None


def setup_mistakes(setups: Sequence[Any], fields: Fields) -> list[str]:
    """What is wrong with the values of `setup`: several keys at once, under a label."""
    mistakes: list[str] = []
    labels: list[Any] = []
    for index, setup in enumerate(setups):
        place = f"matrix.{SETUP}[{index}]"
        if not isinstance(setup, Mapping):
            example = "{label: mine, algorithm: ppo}"
            mistakes.append(f"{place}: expected a label and keys, as {example}; got {brief(setup)}.")
            continue
        label = setup.get(LABEL)
        if wrong := "is required." if LABEL not in setup else name_mistake(label):
            mistakes.append(f"{place}.{LABEL}: {wrong}")
        elif label in labels:
            mistakes.append(f"{place}.{LABEL}: {label!r} is given twice. Each needs its own.")
        labels.append(label)
        wrong_keys = {key: key_mistake(key, place, fields) for key in setup if key != LABEL}
        mistakes += [f"{place}.{key}: {wrong}" for key, wrong in wrong_keys.items() if wrong]
    return mistakes


def crossing_mistakes(matrix: Mapping[str, list[Any]], fields: Fields) -> list[str]:
    """Keys of a matrix that one of its setups sets too, so that one value would be lost."""
    mistakes = []
    for key in matrix:
        for index, setup in enumerate(matrix.get(SETUP, ()) if key != SETUP else ()):
            inside = [
                leaf for name, value in settings_of({SETUP: setup}).items() for leaf in leaves(name, value, fields)
            ]
            both = next((leaf for leaf in inside if covers(key, leaf) or covers(leaf, key)), None)
            if both:
                mistakes.append(f"matrix.{key}: matrix.{SETUP}[{index}] sets {both} too. Keep one of the two.")
                break
    return mistakes


def leaves(key: str, value: Any, fields: Fields) -> list[str]:
    """The dotted keys that a value sets; the name of a plugin is one inside it."""
    if isinstance(value, Mapping):
        return [leaf for name, inner in value.items() for leaf in leaves(f"{key}.{name}", inner, fields)]
    return [f"{key}.name" if key in fields and "kind" in fields[key].metadata else key]
