"""Parsing of mappings into typed dataclasses and plugins; every mistake is collected with its place and remedy."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ddpo_bench import registry
from ddpo_bench.choices import Choice
from ddpo_bench.options import bound_mistakes, brief, is_required, options_of


class ConfigError(Exception):
    """A configuration has mistakes; the message has one line for each."""

    def __init__(self, mistakes: list[str]):
        self.mistakes = [" ".join(mistake.split("\n")) for mistake in mistakes]
        super().__init__("\n".join(self.mistakes))


@functools.lru_cache(maxsize=256)
def type_hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields, cached: evaluating them takes half of the time to plan a large suite."""
    return typing.get_type_hints(cls)


def parse(cls: type, data: Any, where: str, mistakes: list[str]) -> Any:
    """Build dataclass `cls` from a mapping; None where there are mistakes, which are appended to `mistakes`.

    Args:
        cls: the dataclass.
        data: the mapping, as read from YAML.
        where: its key in the file, with which mistakes begin; empty for the top level.
        mistakes: the list to append to.
    """
    values = well_formed(cls, data, where, mistakes)
    if mistakes:
        return None
    try:
        return cls(**values)
    except ValueError as error:  # from a plugin's own check of its options
        mistakes.append(f"{where or 'top level'}: {error}")
        return None


def well_formed(cls: type, data: Any, where: str, mistakes: list[str]) -> dict[str, Any]:
    """The keys of a mapping that fit the fields of dataclass `cls`, converted; arguments are those of `parse`."""
    if not isinstance(data, Mapping):
        mistakes.append(f"{where or 'top level'}: expected a mapping of keys, got {brief(data)}.")
        return {}
    prefix = f"{where}." if where else ""
    hints = type_hints(cls)
    known = options_of(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            newer = getattr(cls, "renamed", {}).get(key)
            wrong = f"is called {newer} now." if newer else registry.unknown("key", key, known)
            mistakes.append(f"{prefix}{key}: {wrong}")
        elif kind := known[key].metadata.get("kind"):
            values[key] = choose(kind, value, prefix + key, mistakes)
        else:
            own: list[str] = []
            converted = convert(hints[known[key].name], value, prefix + key, own)
            if own := own or list(bound_mistakes(known[key], converted, prefix + key)):
                mistakes += own
            else:
                values[known[key].name] = converted
    for name, f in known.items():
        if is_required(f) and name not in data:
            mistakes.append(f"{prefix}{name}: is required.")
    return values


def choose(kind: str, data: Any, where: str, mistakes: list[str]) -> Any:
    """A Choice from `name` or {name: ..., options...}, checked against the plugin's fields; None where it is wrong.

    Options without a name belong to the kind's default plugin.  Arguments are those of `parse`.
    """
    if isinstance(data, str):
        data = {"name": data}
    name = data.get("name", registry.DEFAULTS[kind]) if isinstance(data, Mapping) else None
    if not isinstance(name, str):
        mistakes.append(f"{where}: give a name, for example {{name: {registry.DEFAULTS[kind]}}}; got {brief(data)}.")
        return None
    if kind == "reward" and name.startswith("python:"):
        data = {
            "name": "python",
            "function": name.removeprefix("python:"),
            **{k: v for k, v in data.items() if k != "name"},
        }
        name = "python"
    try:
        cls = registry.get(kind, name)
    except registry.UnknownName as error:
        mistakes.append(f"{where}: {error}")
        return None
    own: list[str] = []
    made = parse(cls, {key: value for key, value in data.items() if key != "name"}, where, own)
    mistakes += own
    if own:
        return None
    return Choice(kind, name, {f.name: getattr(made, f.name) for f in dataclasses.fields(cls) if f.init})


def convert(hint: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    """`value` as the annotated type `hint`; what is wrong with it is appended to `mistakes`."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        choices = typing.get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            mistakes.append(f"{where}: {registry.unknown('value', value, map(str, choices))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        words = [
            word for arg in typing.get_args(hint) if typing.get_origin(arg) is Literal for word in typing.get_args(arg)
        ]
        if isinstance(value, str) and value in words:
            return value
        if isinstance(value, Mapping):  # is no word that was misspelled
            words = []
        (hint,) = [
            arg for arg in typing.get_args(hint) if arg is not type(None) and typing.get_origin(arg) is not Literal
        ]
        own: list[str] = []
        converted = convert(hint, value, where, own)
        mistakes += [f"{mistake} Or write {' or '.join(words)}." if words else mistake for mistake in own]
        return converted
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            meant = f" Write {brief([value])}." if isinstance(value, (str, int, float)) else ""
            mistakes.append(f"{where}: expected a list, got {brief(value)}.{meant}")
            return value
        inner = typing.get_args(hint)[0]
        return origin(convert(inner, item, f"{where}[{i}]", mistakes) for i, item in enumerate(value))
    if hasattr(hint, "parse_at"):  # a class that collects its own mistakes
        return hint.parse_at(value, where, mistakes)
    if hasattr(hint, "parse"):  # a class that parses itself, such as a quantity from "1.6 nats"
        try:
            return hint.parse(value)
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
            return value
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return parse(hint, value, where, mistakes)
    return scalar(hint, value, where, mistakes)


def scalar(hint: Any, value: Any, where: str, mistakes: list[str]) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as text
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", dict: "a mapping"}
    meant = remedy(hint, value)
    mistakes.append(f"{where}: expected {names.get(hint, hint)}, got {brief(value)}.{meant and f' Write {meant}.'}")
    return value


def remedy(hint: Any, value: Any) -> str:
    """How to write what a value of the wrong type seems to mean; empty where that is unclear."""
    if hint is int and isinstance(value, (float, str)):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return ""
        return str(int(number)) if number.is_integer() else ""
    if hint is bool and isinstance(value, str):
        return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), "")
    if hint is str and isinstance(value, (int, float, bool)):
        return json.dumps(str(value))
    return ""
