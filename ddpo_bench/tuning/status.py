"""How far a suite's tuning is, read from its studies, which are left as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from optuna.trial import FrozenTrial

from ddpo_bench.sweep.queue_item import DUPLICATE, end_of
from ddpo_bench.sweep.storage import open_existing
from ddpo_bench.tuning.studies import is_feasible, state_of


def tuning_lines(root: Path, storage: str | None, suite: str) -> Iterator[str]:
    """A line a study: its cell, the states of its trials, the best reward so far.

    Args:
        root: results/<suite>.
        storage: URL of the database that holds the studies; None is the journal in `root`.
    """
    stored = open_existing(storage, root)
    for study in stored.get_all_studies() if stored else ():
        if stored and (cell := re.fullmatch(rf"{re.escape(suite)}-tune-(.+)-[0-9a-f]{{8}}", study.study_name)):
            newest = {
                trial.user_attrs["item"]: trial
                for trial in stored.get_all_trials(study._study_id, deepcopy=False)
                if end_of(trial) != DUPLICATE.end and "item" in trial.user_attrs
            }
            yield f"{cell[1]}: {counted(list(newest.values()))}"


def counted(trials: list[FrozenTrial]) -> str:
    counts = Counter(map(state_of, trials))
    rewards = [trial.values[0] for trial in trials if state_of(trial) == "complete" and is_feasible(trial)]
    ended = sum(counts[state] for state in ("complete", "pruned", "failed"))
    rest = "".join(f", {counts[state]} {state}" for state in ("running", "pruned", "failed") if counts[state])
    best = f", best reward {max(rewards):.4g}" if rewards else ""
    return f"{ended}/{len(trials)} trials{rest}{best}"
