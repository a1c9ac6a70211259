"""Settings in as few digits as still tell them apart: what a search drew has seventeen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FEWEST, MOST = 3, 17


def shortened(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings with rounded numbers; of a key, those that differ still do, and those that are equal still are."""
    numbers: dict[str, set[float]] = {}
    for options in settings:
        for key, value in options.items():
            if isinstance(value, float):
                numbers.setdefault(key, set()).add(value)
    digits = {key: enough_digits(values) for key, values in numbers.items()}
    return [
        {key: rounded(value, digits[key]) if isinstance(value, float) else value for key, value in options.items()}
        for options in settings
    ]


def enough_digits(values: set[float]) -> int:
    """The fewest significant digits at which all values differ."""
    fewer = range(FEWEST, MOST)
    return next((count for count in fewer if len({rounded(value, count) for value in values}) == len(values)), MOST)


def rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
