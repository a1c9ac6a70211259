"""A suite's matrix: every combination of its values, the settings that each makes, and where in the file they stand.

`setup` is a key like no other: each of its values sets several keys at once and carries a label.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SETUP = "setup"
LABEL = "label"
LONGEST_VALUE, LONGEST_CELL = 60, 120  # characters; a folder's name has room for 255 bytes, a cell's hash among them

Matrix = Mapping[str, Sequence[Any]]


def covers(outer: str, inner: str) -> bool:
    """Whether dotted key `inner` is `outer` or lies inside it."""
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def combinations(matrix: Matrix) -> Iterator[dict[str, int]]:
    """Every choice of one index a key."""
    for indices in itertools.product(*(range(len(values)) for values in matrix.values())):
        yield dict(zip(matrix, indices, strict=True))


def settings_of(varied: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a run's configuration that a combination sets, a setup's among them."""
    setup = varied.get(SETUP, {})
    plain = {key: value for key, value in varied.items() if key != SETUP}
    return {key: value for key, value in setup.items() if key != LABEL} | plain


def places_of(matrix: Matrix, chosen: Mapping[str, int]) -> dict[str, str]:
    """Where in the file a combination's settings stand, by key."""
    places: dict[str, str] = {}
    for key, index in chosen.items():
        where = f"matrix.{key}[{index}]"
        inner = settings_of({key: matrix[key][index]})
        places |= {name: f"{where}.{name}" for name in inner} if key == SETUP else {key: where}
    return places


def keys_set(matrix: Matrix) -> dict[str, str]:
    """The keys of a run's configuration that any combination sets, each with the matrix's key for it."""
    plain = {key: f"matrix.{key}" for key in matrix if key != SETUP}
    return plain | {key: f"matrix.{SETUP}" for setup in matrix.get(SETUP, ()) for key in settings_of({SETUP: setup})}


def merged(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The base with a combination's settings: whole keys first, then dotted ones inside them."""
    result = dict(base)
    for key in sorted(settings, key=lambda key: key.count(".")):
        *parents, last = key.split(".")
        target = result
        for parent in parents:
            inner = target.get(parent, {})
            inner = {"name": inner} if isinstance(inner, str) else inner
            target[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            target = target[parent]
        target[last] = settings[key]
    return result


def locate(mistake: str, places: Mapping[str, str], overrides: Sequence[str]) -> str:
    """Say where in the suite the run-config key that a mistake begins with got its value."""
    key, _, text = mistake.partition(": ")
    for varied in sorted(places, key=len, reverse=True):
        place = places[varied]
        if key == varied and "." in varied and text.startswith("unknown key"):
            return f"{place.removesuffix(']').rstrip('0123456789').removesuffix('[')}: {text}"  # whichever value it has
        if covers(varied, key):
            return f"{place}{key[len(varied) :]}: {text}"
        if covers(key, varied) and varied.rpartition(".")[2] in text:  # a plugin's own check names its option
            return f"{place}: {text}"
    for override in overrides:
        if covers(override.partition("=")[0].strip(), key):
            return f"--set {override}: {text}"
    return f"base.{key}: {text}"


def same_runs(chosen: Mapping[str, int], earlier: Mapping[str, int]) -> str:
    differing = [key for key in chosen if chosen[key] != earlier[key]]
    here, there = (" and ".join(f"matrix.{key}[{at[key]}]" for key in differing) for at in (chosen, earlier))
    return f"{here}: makes the same runs as {there}. Remove one of them."


def cell_name(varied: Mapping[str, Any], otherwise: str) -> str:
    """Joined slugs of the varied values, as in "ppo-jpeg_compressibility"; another name where nothing is varied."""
    name = "-".join(map(slug, varied.values())) or slug(otherwise)
    return name[:LONGEST_CELL].rstrip("._-")


def slug(value: Any) -> str:
    """A value as part of a folder's name: of a setup its label, of a plugin its name."""
    if isinstance(value, Mapping):
        value = value.get(LABEL) or value.get("name") or value
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:LONGEST_VALUE] or "empty"
