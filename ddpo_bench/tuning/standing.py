"""What stands of a suite's tuning right now, read from its studies, and nothing touched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from optuna.trial import FrozenTrial

from ddpo_bench.sweep.storage import open_existing
from ddpo_bench.tuning.follow import is_feasible, state_of


def tuning_lines(root: Path, storage: str | None, suite: str) -> Iterator[str]:
    """A line a study: its cell, how its trials stand, the best reward so far.

    Args:
        root: results/<suite>.
        storage: URL of the database that holds the studies; None is the journal in `root`.
    """
    book = open_existing(storage, root)
    for study in book.get_all_studies() if book else ():
        if book and (cell := re.fullmatch(rf"{re.escape(suite)}-tune-(.+)-[0-9a-f]{{8}}", study.study_name)):
            newest: dict[int, FrozenTrial] = {}
            for trial in book.get_all_trials(study._study_id, deepcopy=False):
                if trial.user_attrs.get("end") != "duplicate" and "slot" in trial.user_attrs:
                    newest[trial.user_attrs["slot"]] = trial
            yield f"{cell[1]}: {told(list(newest.values()))}"


def told(trials: list[FrozenTrial]) -> str:
    counts = Counter(map(state_of, trials))
    rewards = [trial.values[0] for trial in trials if state_of(trial) == "complete" and is_feasible(trial)]
    ended = sum(counts[state] for state in ("complete", "pruned", "failed"))
    rest = "".join(f", {counts[state]} {state}" for state in ("running", "pruned", "failed") if counts[state])
    best = f", best reward {max(rewards):.4g}" if rewards else ""
    return f"{ended}/{len(trials)} trials{rest}{best}"
