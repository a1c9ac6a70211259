"""Optuna's samplers and pruners as a `tune:` block names them, and what trials hold of a configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from ddpo_bench.sweep.search_space import Space
from ddpo_bench.sweep.tune_block import Tune

LONGEST_START = 10  # trials at random, at most a third of the budget, before a sampler goes by what it has seen


def make_sampler(tune: Tune, slot: int) -> BaseSampler:
    """A sampler for one slot.

    Seeded by the slot, whoever works on it: no two workers draw the same, and a study that was interrupted
    continues as it would have without the interruption.
    """
    seed = int(np.random.SeedSequence([tune.seed, slot]).generate_state(1)[0])
    start = min(LONGEST_START, tune.trials // 3)
    if tune.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=start)
    return TPESampler(seed=seed, n_startup_trials=start) if tune.sampler == "tpe" else RandomSampler(seed=seed)


def make_pruner(tune: Tune, epochs: int) -> BasePruner:
    """wilcoxon: Wilcoxon's signed-rank test against the best trial, seed by seed.  hyperband: Li et al. 2018."""
    if tune.pruner == "wilcoxon":
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # of its interface
            return WilcoxonPruner()
    if tune.pruner == "hyperband":
        return HyperbandPruner(max_resource=max(1, epochs * len(tune.seeds)))
    return NopPruner()


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Dotted key to value, of one configuration."""
    return {key: dimension.value(dimension.suggest(trial, key)) for key, dimension in space.items()}


def as_parameters(values: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Values as `suggest` finds them in a trial."""
    return {key: space[key].parameter(value) for key, value in values.items()}


def values_of(parameters: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The reverse of `as_parameters`."""
    return {key: space[key].value(parameter) for key, parameter in parameters.items()}
