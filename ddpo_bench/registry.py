"""Plugins by kind and name.

A plugin is a dataclass in its own file. Its fields are its options, and `ddpo-bench list` prints the first line of its
docstring.  Shipped plugins are found by their folder, others by the entry-point group `ddpo_bench.<kind>`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

FOLDERS = {
    "policy": "policies",
    "sampler": "samplers",
    "algorithm": "algorithms",
    "reward": "rewards",
    "prompts": "prompts",
    "advantages": "advantages",
}
DEFAULTS = {  # the plugin that is used where a configuration names none
    "policy": "stable_diffusion",
    "sampler": "ddim",
    "algorithm": "ppo",
    "reward": "jpeg_compressibility",
    "prompts": "simple_animals",
    "advantages": "per_prompt",
}
Plugin = TypeVar("Plugin", bound=type)
_known: dict[str, dict[str, type]] = {kind: {} for kind in FOLDERS}


class UnknownName(KeyError):
    """No plugin is registered under a name; the message gives the nearest name and all that exist."""

    def __str__(self) -> str:
        return str(self.args[0])


def register(kind: str, name: str) -> Callable[[Plugin], Plugin]:
    """A class decorator that makes a dataclass available as the plugin `name` of a kind."""

    def add(plugin: Plugin) -> Plugin:
        if dataclasses.is_dataclass(plugin) and any(option.name == "version" for option in dataclasses.fields(plugin)):
            raise ValueError(
                f"{kind} {name!r}: `version` is the version of a plugin's code; give its option another name"
            )
        known = _known[kind].setdefault(name, plugin)
        if (known.__module__, known.__qualname__) != (plugin.__module__, plugin.__qualname__):
            raise ValueError(f"{kind} {name!r} is already registered by {known.__module__}.{known.__qualname__}")
        return plugin

    return add


def get(kind: str, name: str) -> Any:
    """The class of a plugin; call it with its options to make the object.

    Raises:
        UnknownName: with the nearest known name.
    """
    discover(kind)
    if name not in _known[kind]:
        raise UnknownName(unknown(kind, name, _known[kind]))
    return _known[kind][name]


def names(kind: str) -> list[str]:
    """All names of a kind, sorted."""
    discover(kind)
    return sorted(_known[kind])


def label(kind: str, plugin: Any) -> str:
    """A plugin's name in metrics and tables: its own `label`, or its name and the options that are not the default.

    For example "target_colour" with the default colour, and "target_colour colour=red".  A slash, the separator in
    names of metrics, becomes a colon.
    """
    if isinstance(own := getattr(plugin, "label", None), str):
        return own
    name = next((name for name in names(kind) if _known[kind][name] is type(plugin)), None)
    if name is None:
        return type(plugin).__name__
    options = [f for f in dataclasses.fields(plugin) if f.init and f.metadata.get("in_label", True)]
    changed = [f"{f.name}={getattr(plugin, f.name)}" for f in options if getattr(plugin, f.name) != default_of(f)]
    return " ".join([name, *changed]).replace("/", ":")


def default_of(option: dataclasses.Field[Any]) -> Any:
    """An option's default; MISSING where it has none."""
    return option.default if option.default_factory is dataclasses.MISSING else option.default_factory()


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: "unknown algorithm 'pppo'. Did you mean 'ppo'? Known: ..."."""
    choices = sorted(known)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}.{hint} Known: {', '.join(choices) or 'none'}."


@cache
def discover(kind: str) -> None:
    """Import every module of the kind's folder and every entry point of its group, once."""
    package = importlib.import_module(f"ddpo_bench.{FOLDERS[kind]}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in entry_points(group=f"ddpo_bench.{kind}"):
        register(kind, entry.name)(entry.load())
