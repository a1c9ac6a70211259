"""What can be found wrong with a configuration before any run of it begins, beyond the names and values in the file.

Where a file has mistakes in names and values, its models and loggers are looked at as they are written, so that no
mistake hides another.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import split
from ddpo_bench.parsing import choose
from ddpo_bench.preflight.prompt_length import DRAWS
from ddpo_bench.protocols import Reward
from ddpo_bench.registry import DEFAULTS
from ddpo_bench.sweep.estimate import size
from ddpo_bench.sweep.matrix import LABEL, SETUP, covers
from ddpo_bench.sweep.suite import Cell, Suite, is_suite
from ddpo_bench.training.loggers import logger_mistake

PIXELS = 64  # of the sides of the images that rewards are tried on


def settings_mistakes(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with the models and loggers of a file that has other mistakes, each with its place."""
    families = {place: family_of(value) for place, value in values_of(data, "policy")}
    base = next((family for place, family in families.items() if place in ("policy", "base.policy")), family_of(None))
    found = []
    for place, model in values_of(data, "policy.model"):
        wanted = {"name": families.get(place.removesuffix(".model"), base), "model": model}
        wrong: list[str] = []
        choice = choose("policy", wanted, "policy", wrong)
        mistakes = [] if wrong else choice.build().mistakes()
        found += [f"{place}: {mistake.removeprefix('policy.model: ')}" for mistake in mistakes]
    for place, logger in values_of(data, "logger"):
        if mistake := logger_mistake(logger):
            found.append(f"{place}: {mistake}")
    return found


def family_of(policy: Any) -> Any:
    """The name of a policy as a file gives it; that of the default where it gives none."""
    return policy.get("name", DEFAULTS["policy"]) if isinstance(policy, Mapping) else policy or DEFAULTS["policy"]


def network_mistakes(configs: Iterable[RunConfig]) -> list[str]:
    """What is wrong with the networks of models that are otherwise sound, whose classes are imported for it."""
    policies = {(config.policy.name, config.policy.options.get("model")): config.policy for config in configs}
    return [mistake for policy in policies.values() for mistake in policy.build().architecture_mistakes()]


def values_of(data: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Every value that a suite, or a run's configuration, gives a dotted key, with its place."""
    if not is_suite(data):
        yield from inside(data, key, "", key)
        return
    base, matrix = data.get("base"), data.get("matrix")
    yield from inside(base, key, "base.", key)
    for varied, place, value in varied_values(matrix if isinstance(matrix, Mapping) else {}):
        if varied == key:
            yield place, value
        elif covers(varied, key):
            yield from inside(value, key.removeprefix(f"{varied}."), f"{place}.", key)


def varied_values(matrix: Mapping[Any, Any]) -> Iterator[tuple[str, str, Any]]:
    """Every key that a matrix sets, as it is written, with the place and the value."""
    for varied, values in matrix.items():
        for index, value in enumerate(values if isinstance(values, list) else ()):
            place = f"matrix.{varied}[{index}]"
            if varied != SETUP:
                yield str(varied), place, value
            elif isinstance(value, Mapping):
                yield from ((str(key), f"{place}.{key}", inner) for key, inner in value.items() if key != LABEL)


def inside(data: Any, path: str, before: str, key: str) -> Iterator[tuple[str, Any]]:
    """The value at a dotted path, where there is one."""
    for name in path.split("."):
        if not isinstance(data, Mapping) or name not in data:
            return
        data = data[name]
    yield before + path, data


def results_mistakes(root: Path) -> list[str]:
    """Whether a suite's results can be written to this folder, which need not exist yet."""
    there = nearest_existing(root)
    if not there.is_dir():
        return [f"{there} is a file, so {root} cannot be created. Give another --results DIR."]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"{there} cannot be written to. Give another --results DIR."]
    return []


def free_bytes(root: Path) -> int:
    return shutil.disk_usage(nearest_existing(root)).free


def nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def space_mistakes(root: Path, needed: int) -> list[str]:
    free = free_bytes(root)
    if needed <= free:
        return []
    return [f"{root} needs up to {size(needed)} for checkpoints, and {size(free)} are free. Lower checkpoints_kept."]


def reward_mistakes(configs: Iterable[tuple[str, RunConfig]]) -> list[str]:
    """Rewards that cannot judge a run's prompts; offline ones, which cannot judge grey images of two of them either.

    Args:
        configs: with the place that each got its reward from.
    """
    first: dict[tuple[str, ...], tuple[str, RunConfig]] = {}
    for place, config in configs:
        first.setdefault((repr(config.reward), repr(config.prompts), config.evaluation.prompts), (place, config))
    tried = ((place, prompt_mistake(config) or trial_of(config)) for place, config in first.values())
    return [f"{place}: {mistake}" for place, mistake in tried if mistake]


def prompt_mistake(config: RunConfig) -> str | None:
    """Why the reward cannot judge a prompt among many drawn for training and evaluation; None where it can."""
    reward: Reward = config.reward.build()
    if type(reward).prompt_mistake is Reward.prompt_mistake:
        return None
    rng = np.random.default_rng(0)
    sides = split(config.prompts.build(), config.evaluation.prompts)
    found = (reward.prompt_mistake(*side(rng)) for side in sides for _ in range(DRAWS))
    mistake = next(filter(None, found), None)
    return mistake and f"reward {config.reward.label}: {mistake}"


def trial_of(config: RunConfig) -> str | None:
    """What goes wrong where an offline reward judges a batch; None where nothing does."""
    import torch

    from ddpo_bench.reward_bases.checking import RewardError, score

    reward: Reward = config.reward.build()
    if not reward.offline or reward.mistakes():  # those are told as mistakes of this machine
        return None
    rng = np.random.default_rng(0)
    drawn = [side(rng) for side in split(config.prompts.build(), config.evaluation.prompts)]
    images = torch.full((len(drawn), 3, PIXELS, PIXELS), 0.5)
    try:
        reward.start(torch.device("cpu"))
        score(reward, images, [prompt for prompt, _ in drawn], [facts for _, facts in drawn])
    except RewardError as error:
        return str(error)
    return None


def reward_places(suite: Suite) -> Sequence[tuple[str, RunConfig]]:
    return [(place_of("reward", cell), cell.config) for cell in suite.cells]


def place_of(key: str, cell: Cell) -> str:
    """Where in a suite's file a cell got its value of a key."""
    found = (f"{place}{key[len(varied) :]}" for varied, place in cell.places.items() if covers(varied, key))
    return next(found, f"base.{key}")
