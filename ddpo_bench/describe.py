"""Descriptions of options for `ddpo-bench list` and docs/options.md, from the fields that define them."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from ddpo_bench.choices import to_plain
from ddpo_bench.options import Bounds, is_required, options_of
from ddpo_bench.parsing import type_hints
from ddpo_bench.registry import default_of

NAMES = {float: "number", int: "whole number", bool: "true or false", str: "text", dict: "mapping"}
PLURALS = {float: "numbers", int: "whole numbers"}


@dataclass(frozen=True)
class Described:
    """The description of one option.

    Attributes:
        key: its name, dotted where it is nested.
        type: its type in words.
        default: the default as written in YAML; None where the option is required.
        bounds: its bounds and unit, such as "above 0 to 1"; empty where it has neither.
        help: one line that explains it.
    """

    key: str
    type: str
    default: str | None
    bounds: str
    help: str


def described(cls: type, prefix: str = "") -> Iterator[Described]:
    """The options of a dataclass and of those nested in it; a run's own plugins are described on their own."""
    hints = type_hints(cls)
    for name, option in options_of(cls).items():
        hint, metadata = hints[option.name], option.metadata
        if "kind" in metadata:
            if prefix:
                yield Described(prefix + name, metadata["kind"], None, "", metadata["help"])
            continue
        if is_nested(hint):
            yield from described(hint, f"{prefix}{name}.")
            continue
        bounds = " ".join(filter(None, [metadata.get("bounds", Bounds()).span, metadata.get("unit")]))
        default = None if is_required(option) else written(default_of(option))
        yield Described(prefix + name, type_text(hint), default, bounds, metadata.get("help", ""))
        for part in filter(is_nested, typing.get_args(hint)):  # that may be left out
            yield from described(part, f"{prefix}{name}.")


def is_nested(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) and not (hasattr(hint, "parse") or hasattr(hint, "parse_at"))


def written(value: Any) -> str:
    """A value as written in YAML, in one line."""
    return yaml.safe_dump(to_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def type_text(hint: Any) -> str:
    """A type in words: "whole number", "auto, fp32 or bf16", "list of text"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return one_of([written(choice) for choice in inner])
    if origin in (typing.Union, types.UnionType):
        return one_of(["null" if arg is types.NoneType else type_text(arg) for arg in inner])
    if origin in (list, tuple):
        return f"list of {PLURALS.get(inner[0]) or type_text(inner[0])}"
    return NAMES.get(hint, hint.__name__.lower())


def one_of(choices: list[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def purpose(plugin: type) -> str:
    """The first line of a plugin's docstring; empty where a dataclass has only the generated one."""
    text = (plugin.__doc__ or "").strip()
    generated = dataclasses.is_dataclass(plugin) and text.startswith(f"{plugin.__name__}(")
    return "" if generated else text.partition("\n")[0]
