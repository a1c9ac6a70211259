"""Options as text for people: type, default, bounds, unit and help, from the fields that define them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from ddpo_bench.options import Bounds, is_required, options_of
from ddpo_bench.parsing import to_plain, type_hints
from ddpo_bench.registry import default_of

NAMES = {float: "number", int: "whole number", bool: "true or false", str: "text", dict: "mapping"}
PLURALS = {float: "numbers", int: "whole numbers"}


@dataclass(frozen=True)
class Described:
    """One option.

    Attributes:
        key: dotted where it lies inside another.
        default: as it is written in YAML; None where the option is required.
        bounds: as in "above 0 to 1", with the unit; empty where there are none.
    """

    key: str
    type: str
    default: str | None
    bounds: str
    help: str


def described(cls: type, prefix: str = "") -> Iterator[Described]:
    """The options of a dataclass, except those that hold plugins; of a nested one each option by itself."""
    hints = type_hints(cls)
    for name, option in options_of(cls).items():
        hint, metadata = hints[name], option.metadata
        if "kind" in metadata:
            continue
        if is_nested(hint):
            yield from described(hint, f"{prefix}{name}.")
            continue
        bounds = " ".join(filter(None, [metadata.get("bounds", Bounds()).span, metadata.get("unit")]))
        default = None if is_required(option) else written(default_of(option))
        yield Described(prefix + name, type_text(hint), default, bounds, metadata.get("help", ""))


def is_nested(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) and not hasattr(hint, "parse")


def written(value: Any) -> str:
    """A value as it is written in YAML, in one line."""
    return yaml.safe_dump(to_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def type_text(hint: Any) -> str:
    """A type in words: "whole number", "auto, fp32 or bf16", "list of text"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return one_of([written(choice) for choice in inner])
    if origin in (typing.Union, types.UnionType):
        return one_of([type_text(arg) for arg in inner if arg is not types.NoneType] + ["null"])
    if origin in (list, tuple):
        return f"list of {PLURALS.get(inner[0]) or type_text(inner[0])}"
    return NAMES.get(hint, hint.__name__.lower())


def one_of(choices: list[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def purpose(plugin: type) -> str:
    """The first line of a plugin's own docstring; a dataclass without one has a generated signature for it."""
    text = (plugin.__doc__ or "").strip()
    generated = dataclasses.is_dataclass(plugin) and text.startswith(f"{plugin.__name__}(")
    return "" if generated else text.partition("\n")[0]
