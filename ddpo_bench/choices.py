"""A plugin that a configuration has chosen, as YAML holds it and as the identity of a run does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddpo_bench import registry
from ddpo_bench.fingerprints import Inputs
from ddpo_bench.options import key_of, options_of


@dataclass(frozen=True)
class Choice:
    """A plugin's name and its options, with the defaults filled in."""

    kind: str
    name: str
    options: dict[str, Any]

    def build(self) -> Any:
        """Make the plugin object."""
        return registry.get(self.kind, self.name)(**self.options)

    def plain(self) -> dict[str, Any]:
        """As a configuration holds it, with all defaults."""
        return {"name": self.name, **{key: to_plain(value) for key, value in self.options.items()}}

    def identity(self) -> dict[str, Any]:
        """What of it decides numbers: its options, files by their hashes in place of their paths, and its version."""
        execution = set(self.execution_options())
        decisive = {key: identity_of(value) for key, value in self.options.items() if key not in execution}
        version = getattr(registry.get(self.kind, self.name), "version", 1)
        return {"name": self.name, **decisive, **self.inputs, "version": version}

    def execution_options(self) -> list[str]:
        """The options that decide no number, and so may differ when a run is resumed."""
        known = options_of(registry.get(self.kind, self.name))
        own = [key for key, option in known.items() if option.metadata.get("execution")]
        return own + [f"{place}.{key}" for place, inner in self.nested for key in inner.execution_options()]

    @property
    def nested(self) -> list[tuple[str, Choice]]:
        """The plugins that are options of this one, by their places in it: "parts[0].reward"."""
        return [found for key, value in self.options.items() for found in choices_in(value, key)]

    @functools.cached_property
    def label(self) -> str:
        """The plugin's name in metrics and tables, with the options that are not the default."""
        return registry.label(self.kind, self.build())

    @functools.cached_property
    def inputs(self) -> Inputs:
        """Hashes of the files that the plugin reads, as they were when this was first called."""
        plugin = self.build()
        return plugin.inputs() if hasattr(plugin, "inputs") else {}

    def __str__(self) -> str:
        return self.name


def to_plain(value: Any, of_choice: Callable[[Choice], Any] = Choice.plain) -> Any:
    """A value for YAML and JSON: dataclasses as mappings, tuples as lists, quantities as text, plugins as told."""
    if isinstance(value, Choice):
        return of_choice(value)
    if hasattr(value, "plain"):  # of a quantity, "1.6 nats"
        return value.plain()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key_of(f): to_plain(getattr(value, f.name), of_choice) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: to_plain(item, of_choice) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, of_choice) for item in value]
    return value


def identity_of(value: Any) -> Any:
    return to_plain(value, Choice.identity)


def choices_in(value: Any, place: str) -> Iterator[tuple[str, Choice]]:
    """The plugins in an option's value, with their places."""
    if isinstance(value, Choice):
        yield place, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from choices_in(item, f"{place}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from choices_in(getattr(value, f.name), f"{place}.{key_of(f)}")
