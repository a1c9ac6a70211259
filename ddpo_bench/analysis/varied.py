"""Which settings tell the cells of a suite apart: what their labels say."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.config import EXECUTION_KEYS
from ddpo_bench.run_folder.places import identity_of

FEWEST, MOST = 3, 17  # significant digits of a number in a label: what a search drew has seventeen


def tell_apart(records: list[RunRecord]) -> list[RunRecord]:
    """The records with `varied` filled in: the keys that differ between cells of the same algorithm, or setup, and
    reward."""
    flats = [flatten(record.config) for record in records]
    homes: dict[str, set[str]] = defaultdict(set)
    for record, flat in zip(records, flats, strict=True):
        homes[str(flat)].add(record.folder.parent.name)
    for record, flat in zip(records, flats, strict=True):
        if len(homes[str(flat)]) > 1:  # the same settings under other versions of a plugin are other cells
            flat["cell"] = identity_of(record.folder)
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record, flat in zip(records, flats, strict=True):
        pairs[record.setup or record.algorithm, record.reward].append(flat)
    telling: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (algorithm, reward), group in pairs.items():
        for key in telling_keys(group):
            telling[("reward", reward) if key.startswith("reward.") else ("algorithm", algorithm)].add(key)
    varied = [
        {
            key: flat.get(key)
            for key in sorted(telling["algorithm", record.setup or record.algorithm] | telling["reward", record.reward])
        }
        for record, flat in zip(records, flats, strict=True)
    ]
    return [replace(record, varied=keys) for record, keys in zip(records, shortened(varied), strict=True)]


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, without the keys that do not change what a run computes."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in EXECUTION_KEYS:
            continue
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def differing_keys(flats: list[dict[str, Any]]) -> set[str]:
    """Dotted keys whose value, or absence, is not the same in all."""
    first, *others = flats
    return {key for key in set().union(*flats) if any(other.get(key) != first.get(key) for other in others)}


def telling_keys(flats: list[dict[str, Any]]) -> set[str]:
    """Those of the differing keys that do not follow from another: a plugin's name tells its default options too."""
    differing = differing_keys(flats)
    return {key for key in differing if not follows(key, f"{key.rpartition('.')[0]}.name", differing, flats)}


def follows(key: str, name: str, differing: set[str], flats: list[dict[str, Any]]) -> bool:
    """Whether a plugin of each name has one value of an option alone."""
    if name == key or name not in differing:
        return False
    values: dict[Any, set[str]] = defaultdict(set)
    for flat in flats:
        values[flat.get(name)].add(str(flat.get(key)))
    return all(len(found) == 1 for found in values.values())


def shortened(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings with rounded numbers; of a key, those that differ still do, and those that are equal still are."""
    short: list[dict[str, Any]] = [{} for _ in settings]
    for key in dict.fromkeys(key for options in settings for key in options):
        numbers = {options[key] for options in settings if isinstance(options.get(key), float)}
        enough = (n for n in range(FEWEST, MOST) if len({rounded(value, n) for value in numbers}) == len(numbers))
        digits = next(enough, MOST)
        for options, shown in zip(settings, short, strict=True):
            if key in options:
                shown[key] = rounded(options[key], digits)
    return short


def rounded(value: Any, digits: int) -> Any:
    """A number with that many significant digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
