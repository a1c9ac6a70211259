"""The two uses of the run queue: suites of a few runs and of a few trials, for tests that need no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_trainer
import yaml

from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.suite import Suite, load_suite
from ddpo_bench.sweep.sweep_queue import SweepPlace
from ddpo_bench.sweep.worker import Train
from ddpo_bench.tuning.display import Quiet
from ddpo_bench.tuning.outcome import record
from ddpo_bench.tuning.runner import begin, try_all
from ddpo_bench.tuning.studies import Studies, TuningPlace

RATE = {"low": 1e-6, "high": 1e-2, "log": True}


def write_suite(path: Path, **keys: Any) -> Path:
    """Two cells of three epochs, on seed 0."""
    algorithms = ["frozen", {"name": "ppo", "learning_rate": 1e-3}]
    suite = {"base": {"epochs": 3, "samples_per_epoch": 4}, "matrix": {"algorithm": algorithms}, "seeds": [0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(suite | keys))
    return path


def sweep_place(folder: Path, **keys: Any) -> SweepPlace:
    suite = load_suite(write_suite(folder / "mine.yaml", **keys))
    runs = [fake_trainer.without_policy(run) for run in runs_of(suite)]
    return SweepPlace(None, "mine", runs, folder / "results")


def tuned_suite(folder: Path, epochs: int = 3, **tune: Any) -> Suite:
    """Of which ppo is tuned: six trials on two seeds, unless `tune` says otherwise."""
    block = {"space": {"algorithm.learning_rate": RATE}, "trials": 6, "seeds": [100, 101]} | tune
    base = {"epochs": epochs, "samples_per_epoch": 4}
    return load_suite(write_suite(folder / "mine.yaml", base=base, seeds=[0, 1, 2], tune=block))


def tuning_place(folder: Path, epochs: int = 3, **tune: Any) -> TuningPlace:
    return TuningPlace(None, tuned_suite(folder, epochs, **tune), folder / "results")


def tune_here(suite: Suite, root: Path, train: Train = fake_trainer.train) -> Studies:
    """Bring all trials of a suite to their end, in this process."""
    place = TuningPlace(None, suite, root)
    studies = begin(place)
    try_all(place, studies, train, Quiet())
    return studies


def only_record(studies: Studies) -> dict[str, Any]:
    """Of the one study, as tuning/<cell>.json has it."""
    (name,) = studies.studies
    return json.loads(json.dumps(record(studies, name)))
