"""A suite file: shared settings, a matrix over any of their keys, seeds; checked as a whole before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ddpo_bench.config import Choice, ConfigError, Judges, RunConfig, run_config, to_plain
from ddpo_bench.judge import with_rewards_of_suite
from ddpo_bench.registry import DEFAULTS
from ddpo_bench.sweep.form import read_form
from ddpo_bench.sweep.matrix import (
    LABEL,
    SETUP,
    cell_name,
    combinations,
    covers,
    keys_set,
    locate,
    merged,
    places_of,
    same_runs,
    settings_of,
)
from ddpo_bench.sweep.search_space import Space, dimensions
from ddpo_bench.sweep.tune_block import Tune, check_tune, spaces
from ddpo_bench.yaml_file import apply_overrides, load_yaml

RUN_FIELDS = {field.name: field for field in dataclasses.fields(RunConfig)}


@dataclass(frozen=True)
class Cell:
    """One combination of the matrix's values, over all seeds."""

    name: str  # the varied values joined by "-"; two cells may share it
    hash: str  # RunConfig.identity(); no two cells share it
    varied: dict[str, Any]  # matrix key to this cell's value
    places: dict[str, str]  # key of the run's configuration to where in the file the matrix sets it
    config: RunConfig  # its seed is still the default
    space: Space = dataclasses.field(default_factory=dict)  # what is tuned in it
    tuned: dict[str, Any] = dataclasses.field(default_factory=dict)  # what tuning has found for it

    @property
    def label(self) -> str:
        """What tables call it: its setup's label, else its algorithm."""
        return self.varied[SETUP][LABEL] if SETUP in self.varied else self.config.algorithm.name

    def to_dict(self) -> dict[str, Any]:
        label = {LABEL: self.label} if SETUP in self.varied else {}
        tuned = {"tuned": self.tuned} if self.tuned else {}
        return {"name": self.name, "hash": self.hash, **label, "varied": settings_of(self.varied), **tuned}


@dataclass(frozen=True)
class Suite:
    """A suite file with its overrides applied and every cell resolved."""

    name: str
    base: dict[str, Any]
    matrix: dict[str, list[Any]]
    seeds: list[int]
    cells: list[Cell]
    file: Path
    tune: Tune | None = None

    def to_dict(self) -> dict[str, Any]:
        """What suite.yaml holds: the source, and the cells that it makes."""
        cells = [cell.to_dict() for cell in self.cells]
        tune = {"tune": to_plain(self.tune)} if self.tune else {}
        plain = {"name": self.name, "base": self.base, "matrix": self.matrix, "seeds": self.seeds}
        return {**plain, **tune, "cells": cells}

    def changed(self, cell: Cell, changes: Mapping[str, Any]) -> Cell:
        """A cell with some dotted keys of its configuration changed.

        Raises:
            ConfigError: where it cannot have them.
        """
        config = run_config(merged(merged(self.base, settings_of(cell.varied)), changes), cell.name)
        config = judged(config, cell.config.evaluation.judges)
        return replace(cell, config=config, hash=config.identity(), tuned=dict(changes))


def is_suite(data: Mapping[str, Any]) -> bool:
    """Whether a YAML file's keys are a suite's rather than one run's."""
    return not {"base", "matrix", "seeds", "tune"}.isdisjoint(data) or RUN_FIELDS.keys().isdisjoint(data)


def load_suite(path: Path, overrides: Sequence[str] = (), seeds: Sequence[int] = ()) -> Suite:
    """Read a suite file.

    Args:
        overrides: `key=value` each, applied to the base.
        seeds: in place of the file's own.
    Raises:
        ConfigError: naming every mistake of every cell by its place in the file, without repetition.
    """
    data = load_yaml(path)
    if not is_suite(data):
        raise ConfigError([f"{path}: is the configuration of one run, not a suite. Use: ddpo-bench train {path}"])
    wrong: list[str] = []
    form = read_form(data, path.stem, RUN_FIELDS, wrong)
    mistakes = [f"{path}: {mistake}" for mistake in wrong]
    base = spelled_out(form.base)
    try:
        refuse_varied(overrides, keys_set(form.matrix), path)
        base = apply_overrides(base, list(overrides)) if overrides else base
    except ConfigError as error:
        mistakes += error.mistakes
    cells, wrong = resolve(base, form.matrix, overrides)
    mistakes += [line if line.startswith("--set") else f"{path}: {line}" for line in wrong]
    suite = Suite(form.name, base, form.matrix, list(seeds) or form.seeds, cells, path)
    if form.tune is not None:
        suite, wrong = with_tuning(suite, form.tune)
        mistakes += [f"{path}: {line}" for line in wrong]
    if mistakes:
        raise ConfigError(mistakes)
    return suite


def with_tuning(suite: Suite, data: Any) -> tuple[Suite, list[str]]:
    """The suite with its `tune:` block and every cell's space, and what is wrong with them."""
    mistakes: list[str] = []
    tune = check_tune(data, suite.seeds, mistakes)
    if tune is None:
        return suite, mistakes
    written = spaces(tune, [(cell.label, cell.config.algorithm.name) for cell in suite.cells], mistakes)
    cells = []
    for cell in suite.cells:
        where, own = written.get(cell.label, ("", {}))
        space, wrong = dimensions(own, where, list(cell.places), partial(resolve_changed, suite, cell))
        mistakes += [line for line in wrong if line not in mistakes]
        cells.append(replace(cell, space=space))
    return replace(suite, cells=cells, tune=tune), mistakes


def resolve_changed(suite: Suite, cell: Cell, changes: Mapping[str, Any]) -> RunConfig:
    return suite.changed(cell, changes).config


def spelled_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every plugin, a default one too, is written {name: ...}, so that dotted keys can lead inside."""
    plugins = {name: DEFAULTS[field.metadata["kind"]] for name, field in RUN_FIELDS.items() if "kind" in field.metadata}
    return {**data, **{key: named(data.get(key, {}), default) for key, default in plugins.items()}}


def named(value: Any, default: str) -> Any:
    if isinstance(value, str):
        return {"name": value}
    return {"name": default, **value} if isinstance(value, Mapping) else value


def refuse_varied(overrides: Sequence[str], varied_keys: Mapping[str, str], path: Path) -> None:
    lost = []
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in ("seed", "seeds"):
            lost.append(f"--set {override}: {path} sets the seeds by 'seeds'. Pick some with --only '*/seed-0'.")
        for varied, where in varied_keys.items():
            if covers(varied, key):
                lost.append(f"--set {override}: the matrix varies {varied!r}. Change {where} in {path} instead.")
    if lost:
        raise ConfigError(lost)


def resolve(
    base: Mapping[str, Any], matrix: Mapping[str, list[Any]], overrides: Sequence[str]
) -> tuple[list[Cell], list[str]]:
    cells: list[Cell] = []
    mistakes: dict[str, None] = {}  # a dictionary keeps the order and drops repetitions
    seen: dict[str, dict[str, int]] = {}
    choices: dict[str, Choice] = {}
    for chosen in combinations(matrix):
        varied, places = {key: matrix[key][index] for key, index in chosen.items()}, places_of(matrix, chosen)
        try:
            config = run_config(merged(base, settings_of(varied)), "cell").sharing(choices)
        except ConfigError as error:
            lines = [line.removeprefix("cell: ") for line in error.mistakes]
            mistakes |= dict.fromkeys(locate(line, places, overrides) for line in lines)
            continue
        identity = config.identity()
        if identity in seen:
            mistakes[same_runs(chosen, seen[identity])] = None
        seen[identity] = chosen
        label = config.reward.label  # known from here on, so that no worker needs to make the reward for it
        labelled = varied | ({"reward": label} if "reward" in varied else {})
        cells.append(Cell(cell_name(labelled, config.algorithm.name), identity, varied, places, config))
    return judged_by_each_other(cells), list(mistakes)


def judged_by_each_other(cells: list[Cell]) -> list[Cell]:
    """The cells, judged by one another's rewards where `evaluation.judges` says so."""
    rewards = list({cell.config.reward.label: cell.config.reward for cell in cells}.values())
    known = [(cell, with_rewards_of_suite(cell.config.evaluation.judges, rewards)) for cell in cells]
    return [replace(cell, config=judged(cell.config, judges)) for cell, judges in known]


def judged(config: RunConfig, judges: Judges) -> RunConfig:
    return replace(config, evaluation=replace(config.evaluation, judges=judges))
