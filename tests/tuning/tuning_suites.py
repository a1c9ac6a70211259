"""Suites that are tuned on a known landscape, in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import landscape

from ddpo_bench.sweep import worker
from ddpo_bench.sweep.runner import book_place
from ddpo_bench.sweep.suite import Suite
from ddpo_bench.tuning.display import Quiet
from ddpo_bench.tuning.outcome import record
from ddpo_bench.tuning.runner import begin
from ddpo_bench.tuning.studies import Studies, TuningPlace
from ddpo_bench.tuning.worker import tune_through

RATE = {"low": 1e-6, "high": 1e-2, "log": True}


def suite_data(**tune: Any) -> dict[str, Any]:
    space = {"algorithm.learning_rate": RATE}
    return {
        "name": "mine",
        "base": {"epochs": 3, "samples_per_epoch": 4},
        "matrix": {"algorithm": ["frozen", {"name": "ppo", "learning_rate": 1e-3}]},
        "seeds": [0, 1, 2],
        "tune": {"space": space, "trials": 6, "seeds": [100, 101]} | tune,
    }


def tune_here(suite: Suite, root: Path, train: worker.Train = landscape.train) -> Studies:
    """Bring all trials of a suite to their end, in this process."""
    studies = begin(TuningPlace(None, suite, root))
    book = book_place(suite, [], root, None).open()
    tune_through(studies, book, train, Quiet())
    return studies


def only_record(studies: Studies) -> dict[str, Any]:
    """Of the one study, as tuning/<cell>.json has it."""
    (name,) = studies.studies
    told = record(studies, name)
    return json.loads(json.dumps(told))


def sessions(root: Path) -> dict[str, int]:
    """How often the training of each run was begun."""
    files = root.glob("runs/*/*/sessions")
    return {os.path.join(*file.parent.parts[-2:]): len(file.read_text().splitlines()) for file in files}
