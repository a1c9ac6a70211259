"""Options of a configuration: dataclass fields that carry their help, bounds and unit.

Bounds are checked when a configuration is parsed (`ddpo_bench.parsing`), and every number must be finite.
Checks across options belong in the `__post_init__` of a class, which raises ValueError.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field
from typing import Any

LARGEST_SEED = 2**32 - 1  # NumPy's legacy generators take no larger ones
LONGEST_QUOTE = 100  # characters
LARGEST_COUNT = 10**9  # images, epochs, updates and the like


@dataclass(frozen=True)
class Bounds:
    """An interval of numbers, which includes `minimum` and `maximum` and excludes `above` and `below`."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        """The bounds in a sentence, "above 0 and at most 1"; empty where there are none."""
        named = {"at least": self.minimum, "above": self.above, "at most": self.maximum, "below": self.below}
        return " and ".join(f"{words} {limit_text(limit)}" for words, limit in named.items() if limit is not None)

    @property
    def span(self) -> str:
        """The bounds in short, "above 0 to 1"; empty where there are none."""
        ends = [self.minimum is None and "above ", self.maximum is None and "below "]
        limits = [self.lowest, self.highest]
        return " to ".join(
            f"{end or ''}{limit_text(limit)}" for end, limit in zip(ends, limits, strict=True) if limit is not None
        )

    @property
    def lowest(self) -> float | None:
        return self.minimum if self.above is None else self.above

    @property
    def highest(self) -> float | None:
        return self.maximum if self.below is None else self.below

    def mistake(self, value: float) -> str | None:
        """What is wrong with a number; None where it is within the bounds."""
        if not is_finite(value):
            return f"must be a finite number, got {value!r}."
        within = (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        return None if within else f"must be {self}, got {shown(value)}."


SEEDS, MOST_SEEDS = Bounds(minimum=0, maximum=LARGEST_SEED), 10_000


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str | None = None,
    in_label: bool = True,
    execution: bool = False,
) -> Any:
    """A dataclass field with its documentation and bounds.

    Args:
        default: the value where none is given; `dataclasses.MISSING` makes the option required. Lists and mappings are
            copied.
        help: one line that explains the option.
        minimum, maximum, above, below: bounds of the number, or of each number in a list.
        unit: the unit of the number, shown in the documentation.
        in_label: whether another value makes another plugin to readers of metrics and tables.
        execution: whether it decides no number, and so is neither in the label nor in a run's identity.
    """
    bounds = Bounds(minimum, maximum, above, below)
    shown = {"in_label": in_label and not execution, "execution": execution}
    metadata = {"help": help, "bounds": bounds, "unit": unit, **shown}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a dataclass that a configuration can set, by their keys there."""
    return {key_of(f): f for f in dataclasses.fields(cls) if f.init}


def key_of(option: dataclasses.Field[Any]) -> str:
    """An option's key in a configuration: `from_` is `from`, which Python has for itself."""
    return option.name.removesuffix("_")


def is_required(option: dataclasses.Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def bound_mistakes(option: dataclasses.Field[Any], value: Any, where: str) -> Iterator[str]:
    """Numbers of an option that are out of bounds, each with its place; other values are ignored."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from bound_mistakes(option, item, f"{where}[{index}]")
    number = getattr(value, "value", value)  # a quantity has a unit as well
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        mistake = option.metadata.get("bounds", Bounds()).mistake(number)
        if mistake:
            yield f"{where}: {mistake}"


def is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def brief(value: Any) -> str:
    """A value as quoted in a message, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}..."


def limit_text(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"
