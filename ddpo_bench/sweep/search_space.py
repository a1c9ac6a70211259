"""A search space: which values a key of a run's configuration may take, checked against that configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.options import option
from ddpo_bench.parsing import parse
from ddpo_bench.quantity import NATS, Quantity
from ddpo_bench.sweep.matrix import covers

if TYPE_CHECKING:
    from optuna import Trial

Resolve = Callable[[Mapping[str, Any]], RunConfig]  # a cell's configuration with some keys changed
DIGITS = 3  # significant ones, of a quantity that was drawn


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included and in one unit."""

    low: Quantity = option(MISSING, "the lowest value")
    high: Quantity = option(MISSING, "the highest value")
    log: bool = option(False, "whether the logarithm is drawn evenly")

    def __post_init__(self) -> None:
        if self.low.unit != self.high.unit:
            raise ValueError(f"low and high must have the same unit, got {self.low} and {self.high}.")
        if not self.low.value < self.high.value or (self.log and self.low.value <= 0):
            raise ValueError(f"low must be below high, and above 0 where log is true, got {self.low} and {self.high}.")

    @property
    def nats(self) -> bool:
        return self.low.unit == NATS

    def holds(self, value: Any) -> bool:
        given = amount(value)
        return given is not None and given.unit == self.low.unit and self.low.value <= given.value <= self.high.value

    def suggest(self, trial: Trial, key: str) -> float:
        return trial.suggest_float(key, self.low.value, self.high.value, log=self.log)

    def value(self, parameter: Any) -> Any:
        """A parameter of a trial as a configuration file gives it."""
        return Quantity(float(f"{parameter:.{DIGITS}g}"), NATS).plain() if self.nats else parameter

    def parameter(self, value: Any) -> float:
        """The reverse of `value`, except for rounding."""
        return Quantity.parse(value).value if self.nats else value

    def text(self, parameter: Any) -> str:
        """A parameter for people."""
        return str(self.value(parameter)) if self.nats else f"{parameter:.3g}"

    def to_dict(self) -> dict[str, Any]:
        return {"low": self.low.plain(), "high": self.high.plain(), "log": self.log}


class WholeRange(Range):
    """Whole numbers, of a key that takes no others."""

    def suggest(self, trial: Trial, key: str) -> int:
        return trial.suggest_int(key, int(self.low.value), int(self.high.value), log=self.log)

    def to_dict(self) -> dict[str, Any]:
        return {"low": int(self.low.value), "high": int(self.high.value), "log": self.log}


@dataclass(frozen=True)
class Choices:
    """Some values, in no order, which may be mappings: trials hold their JSON."""

    choices: list[object] = option(MISSING, "the values")

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise ValueError(f"choices: give a list of two values or more, got {self.choices!r}.")

    def holds(self, value: Any) -> bool:
        return value in self.choices

    def suggest(self, trial: Trial, key: str) -> str:
        return trial.suggest_categorical(key, [json.dumps(value) for value in self.choices])

    def value(self, parameter: Any) -> Any:
        return json.loads(parameter)

    def parameter(self, value: Any) -> str:
        return json.dumps(value)

    def text(self, parameter: Any) -> str:
        return str(self.value(parameter))

    def to_dict(self) -> dict[str, Any]:
        return {"choices": self.choices}


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
        place, own = f"{where}.{key}", list[str]()
        if wrong := misplaced(key, varied):
            own = [f"{place}: {wrong}"]
        elif isinstance(written, Mapping) and "choices" in written:
            if choices := parse(Choices, written, place, own):
                own += refusals(key, {f"{place}.choices[{i}]": one for i, one in enumerate(choices.choices)}, resolve)
                found[key] = choices
        elif ends := parse(Range, written, place, own):
            own += refusals(key, {f"{place}.low": written["low"], f"{place}.high": written["high"]}, resolve)
            whole = not own and isinstance(value_at(resolve({key: written["low"]}), key), int)
            found[key] = WholeRange(ends.low, ends.high, ends.log) if whole else ends
        mistakes += own
    return found, mistakes


def misplaced(key: str, varied: Sequence[str]) -> str | None:
    """Why a key cannot be tuned, whatever its values."""
    if key in ("seed", "seeds"):
        return "seeds are not tuned; the seeds of trials are tune.seeds."
    taken = next((other for other in varied if covers(key, other)), None)
    return f"the matrix varies {taken!r}. Tune keys inside it, as {taken}.learning_rate." if taken else None


def refusals(key: str, values: Mapping[str, Any], resolve: Resolve) -> list[str]:
    """Why a cell's configuration cannot have the values of a key, by their places; once where two have one reason."""
    reasons: dict[str, str] = {}
    for place, value in values.items():
        try:
            resolve({key: value})
        except ConfigError as error:
            for line in error.mistakes:
                reasons.setdefault(line.partition(": ")[2].removeprefix(f"{key}: "), place)
    return [f"{place}: {reason}" for reason, place in reasons.items()]


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
