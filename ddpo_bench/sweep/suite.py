"""A suite file: shared settings, a matrix over any of their keys, seeds; checked as a whole before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ddpo_bench.config import ConfigError, RunConfig, apply_overrides, load_yaml, run_config, to_plain
from ddpo_bench.sweep.form import check_form, covers
from ddpo_bench.sweep.search_space import Space, dimensions
from ddpo_bench.sweep.tune_block import Tune, check_tune, spaces

RUN_FIELDS = {field.name: field for field in dataclasses.fields(RunConfig)}


@dataclass(frozen=True)
class Cell:
    """One combination of the matrix's values, over all seeds."""

    name: str  # the varied values joined by "-"; two cells may share it
    hash: str  # RunConfig.identity(); no two cells share it
    varied: dict[str, Any]  # matrix key to this cell's value
    config: RunConfig  # its seed is still the default
    space: Space = dataclasses.field(default_factory=dict)  # what is tuned in it
    tuned: dict[str, Any] = dataclasses.field(default_factory=dict)  # what tuning has found for it

    def to_dict(self) -> dict[str, Any]:
        tuned = {"tuned": self.tuned} if self.tuned else {}
        return {"name": self.name, "hash": self.hash, "varied": self.varied, **tuned}


@dataclass(frozen=True)
class Suite:
    """A suite file with its overrides applied and every cell resolved."""

    name: str
    base: dict[str, Any]
    matrix: dict[str, list[Any]]
    seeds: list[int]
    cells: list[Cell]
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
        config = run_config(merged(merged(self.base, cell.varied), changes), cell.name)
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
    form = check_form(data, path.stem, RUN_FIELDS)
    mistakes = [f"{path}: {mistake}" for mistake in form.mistakes]
    base = spelled_out(form.base)
    try:
        refuse_varied(overrides, form.matrix, path)
        base = apply_overrides(base, list(overrides)) if overrides else base
    except ConfigError as error:
        mistakes += error.mistakes
    cells, wrong = resolve(base, form.matrix, overrides)
    mistakes += [line if line.startswith("--set") else f"{path}: {line}" for line in wrong]
    suite = Suite(form.name, base, form.matrix, list(seeds) or form.seeds, cells)
    if "tune" in data:
        suite, wrong = with_tuning(suite, data["tune"])
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
    written = spaces(tune, [cell.config.algorithm.name for cell in suite.cells], mistakes)
    cells = []
    for cell in suite.cells:
        algorithm = cell.config.algorithm.name
        where = f"tune.space.{algorithm}" if algorithm in tune.space else "tune.space"
        resolve = partial(resolve_changed, suite, cell)
        space, wrong = dimensions(written.get(algorithm, {}), where, list(suite.matrix), resolve)
        mistakes += [line for line in wrong if line not in mistakes]
        cells.append(replace(cell, space=space))
    return replace(suite, cells=cells, tune=tune), mistakes


def resolve_changed(suite: Suite, cell: Cell, changes: Mapping[str, Any]) -> RunConfig:
    return suite.changed(cell, changes).config


def spelled_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every plugin, a default one too, is written {name: ...}, so that dotted keys can lead inside."""
    result, defaults = dict(data), RunConfig()
    for name, field in RUN_FIELDS.items():
        if "kind" in field.metadata:
            value = data.get(name, getattr(defaults, name).name)
            result[name] = {"name": value} if isinstance(value, str) else value
    return result


def refuse_varied(overrides: Sequence[str], matrix: Mapping[str, Any], path: Path) -> None:
    lost = []
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in ("seed", "seeds"):
            lost.append(f"--set {override}: {path} sets the seeds by 'seeds'. Pick some with --only '*/seed-0'.")
        for varied in matrix:
            if covers(varied, key):
                lost.append(
                    f"--set {override}: the matrix varies {varied!r}. Change matrix.{varied} in {path} instead."
                )
    if lost:
        raise ConfigError(lost)


def resolve(
    base: Mapping[str, Any], matrix: Mapping[str, list[Any]], overrides: Sequence[str]
) -> tuple[list[Cell], list[str]]:
    cells: list[Cell] = []
    mistakes: dict[str, None] = {}  # a dictionary keeps the order and drops repetitions
    seen: dict[str, dict[str, int]] = {}
    for place in combinations(matrix):
        varied = {key: matrix[key][index] for key, index in place.items()}
        try:
            config = run_config(merged(base, varied), "cell")
        except ConfigError as error:
            lines = [line.removeprefix("cell: ") for line in error.mistakes]
            mistakes |= dict.fromkeys(locate(line, place, overrides) for line in lines)
            continue
        identity = config.identity()
        if identity in seen:
            mistakes[same_runs(place, seen[identity])] = None
        seen[identity] = place
        cells.append(Cell(cell_name(varied, config), identity, varied, config))
    return cells, list(mistakes)


def combinations(matrix: Mapping[str, list[Any]]) -> Iterator[dict[str, int]]:
    """Every choice of one index a key."""
    for indices in itertools.product(*(range(len(values)) for values in matrix.values())):
        yield dict(zip(matrix, indices, strict=True))


def merged(base: Mapping[str, Any], varied: Mapping[str, Any]) -> dict[str, Any]:
    """The base with a cell's values: whole keys first, then dotted ones inside them."""
    result = dict(base)
    for key in sorted(varied, key=lambda key: key.count(".")):
        *parents, last = key.split(".")
        target = result
        for parent in parents:
            inner = target.get(parent, {})
            inner = {"name": inner} if isinstance(inner, str) else inner
            target[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            target = target[parent]
        target[last] = varied[key]
    return result


def locate(mistake: str, place: Mapping[str, int], overrides: Sequence[str]) -> str:
    """Say where in the suite the run-config key that a mistake begins with got its value."""
    key, _, text = mistake.partition(": ")
    for varied in sorted(place, key=len, reverse=True):
        if key == varied and "." in varied and text.startswith("unknown key"):
            return f"matrix.{varied}: {text}"  # the key itself is wrong, whichever value it has
        if covers(varied, key):
            return f"matrix.{varied}[{place[varied]}]{key[len(varied) :]}: {text}"
        if covers(key, varied) and varied.rpartition(".")[2] in text:  # a plugin's own check names its option
            return f"matrix.{varied}[{place[varied]}]: {text}"
    for override in overrides:
        if covers(override.partition("=")[0].strip(), key):
            return f"--set {override}: {text}"
    return f"base.{key}: {text}"


def same_runs(place: Mapping[str, int], earlier: Mapping[str, int]) -> str:
    differing = [key for key in place if place[key] != earlier[key]]
    here, there = (" and ".join(f"matrix.{key}[{at[key]}]" for key in differing) for at in (place, earlier))
    return f"{here}: makes the same runs as {there}. Remove one of them."


def cell_name(varied: Mapping[str, Any], config: RunConfig) -> str:
    """Joined slugs of the varied values, as in "ppo-jpeg_compressibility"; the algorithm where nothing is varied."""
    named = {**varied, "reward": config.reward.label} if "reward" in varied else varied
    return "-".join(map(slug, named.values())) or slug(config.algorithm.name)


def slug(value: Any) -> str:
    named = isinstance(value, Mapping) and "name" in value
    text = value["name"] if named else value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", str(text)).strip("._-")[:60] or "empty"
