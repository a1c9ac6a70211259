"""The rewards that every run is judged under, whatever it was trained on, so that over-optimisation shows."""

from __future__ import annotations

from ddpo_bench.options import is_required, options_of
from ddpo_bench.protocols import Reward
from ddpo_bench.registry import get, names


def judges(prompts: list[str]) -> dict[str, Reward]:
    """The offline rewards by name, with default options, that can judge images of all these prompts."""
    kinds = {name: get("reward", name) for name in names("reward")}
    offline = {name: kind for name, kind in kinds.items() if kind.offline and not needs_options(kind)}
    made: dict[str, Reward] = {name: kind() for name, kind in offline.items()}
    return {name: reward for name, reward in made.items() if all(map(reward.can_judge, prompts))}


def needs_options(kind: type) -> bool:
    return any(is_required(option) for option in options_of(kind).values())
