"""A search space: which values a key of a run's configuration may take, checked against that configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.quantity import MEAN_UNITS, NATS, Quantity
from ddpo_bench.sweep.matrix import covers

Resolve = Callable[[Mapping[str, Any]], RunConfig]  # a cell's configuration with some keys changed
FORM = "expected {low, high, log} or {choices}"
DIGITS = 3  # significant ones, of a quantity that was drawn


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones where the key takes whole numbers."""

    low: float
    high: float
    log: bool
    whole: bool
    nats: bool = False  # the unit of both ends

    def holds(self, value: Any) -> bool:
        given = amount(value)
        return given is not None and (given.unit == NATS) == self.nats and self.low <= given.value <= self.high

    def written(self, number: float) -> Any:
        """A number of the range as a configuration file gives it."""
        return Quantity(float(f"{number:.{DIGITS}g}"), NATS).plain() if self.nats else number

    def number(self, written: Any) -> float:
        """The reverse of `written`, except for rounding."""
        return Quantity.parse(written).value if self.nats else written

    def to_dict(self) -> dict[str, Any]:
        unit = NATS if self.nats else MEAN_UNITS
        return {"low": Quantity(self.low, unit).plain(), "high": Quantity(self.high, unit).plain(), "log": self.log}


@dataclass(frozen=True)
class Choices:
    """Some values, in no order."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values

    def to_dict(self) -> dict[str, Any]:
        return {"choices": list(self.values)}


Space = dict[str, Range | Choices]


def dimensions(
    space: Mapping[str, Any], where: str, varied: Sequence[str], resolve: Resolve
) -> tuple[Space, list[str]]:
    """The space of one cell, and what is wrong with it.

    Args:
        where: of the space in the file.
        varied: the keys that the matrix sets.
        resolve: of the cell.
    """
    found: Space = {}
    mistakes: list[str] = []
    for key, written in space.items():
        dimension = None
        if wrong := misplaced(str(key), varied):
            mistakes.append(f"{where}.{key}: {wrong}")
        else:
            dimension = read_dimension(written, key, f"{where}.{key}", resolve, mistakes)
        if dimension:
            found[key] = dimension
    return found, mistakes


def misplaced(key: str, varied: Sequence[str]) -> str | None:
    """Why a key cannot be tuned, whatever its values."""
    if key in ("seed", "seeds"):
        return "seeds are not tuned; the seeds of trials are tune.seeds."
    taken = next((other for other in varied if covers(key, other)), None)
    return f"the matrix varies {taken!r}. Tune keys inside it, as {taken}.learning_rate." if taken else None


def read_dimension(written: Any, key: str, place: str, resolve: Resolve, mistakes: list[str]) -> Range | Choices | None:
    if isinstance(written, Mapping) and written.keys() == {"choices"}:
        return choices(written["choices"], key, place, resolve, mistakes)
    if isinstance(written, Mapping) and {"low", "high"} <= written.keys() <= {"low", "high", "log"}:
        return a_range(written, key, place, resolve, mistakes)
    mistakes.append(f"{place}: {FORM}, got {written!r}.")
    return None


def choices(values: Any, key: str, place: str, resolve: Resolve, mistakes: list[str]) -> Choices | None:
    if not isinstance(values, list) or len(values) < 2:
        mistakes.append(f"{place}.choices: give a list of two values or more, got {values!r}.")
        return None
    own = [line for i, value in enumerate(values) for line in refusal(key, value, f"{place}.choices[{i}]", resolve)]
    mistakes += own
    return None if own else Choices(tuple(values))


def a_range(written: Mapping[str, Any], key: str, place: str, resolve: Resolve, mistakes: list[str]) -> Range | None:
    low, high, log = amount(written["low"]), amount(written["high"]), written.get("log", False)
    if low is None or high is None or not isinstance(log, bool):
        mistakes.append(f"{place}: low and high must be numbers, log true or false; got {dict(written)!r}.")
        return None
    if low.unit != high.unit:
        mistakes.append(f"{place}: low and high must have the same unit; got {dict(written)!r}.")
        return None
    if not low.value < high.value or (log and low.value <= 0):
        mistakes.append(f"{place}: low must be below high, and above 0 where log is true; got {dict(written)!r}.")
        return None
    own = refusal(key, written["low"], f"{place}.low", resolve) or refusal(
        key, written["high"], f"{place}.high", resolve
    )
    mistakes += own
    if own:
        return None
    whole = isinstance(value_at(resolve({key: written["low"]}), key), int)
    ends = [int(end.value) if whole else end.value for end in (low, high)]
    return Range(ends[0], ends[1], log, whole, low.unit == NATS)


def refusal(key: str, value: Any, place: str, resolve: Resolve) -> list[str]:
    """Why a cell's configuration cannot have this value; empty where it can."""
    try:
        resolve({key: value})
    except ConfigError as error:
        return [f"{place}: {line.partition(': ')[2].removeprefix(f'{key}: ')}" for line in error.mistakes]
    return []


def value_at(config: RunConfig, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value: Any = config.to_dict()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def amount(value: Any) -> Quantity | None:
    """A YAML number, with its unit where it has one; None where it is neither."""
    try:
        return Quantity.parse(value)
    except ValueError:
        return None
