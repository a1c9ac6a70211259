"""The measure "training reward at an equal budget": of reward queries, of seconds, or of KL to the pretrained model."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from ddpo_bench.analysis.efficiency import Curve, common_budget, kl_spent, reward_at
from ddpo_bench.analysis.measures import BASELINE, Measure
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.run_folder.places import ResultsError

REWARD = "reward_mean"
COLUMNS = {
    "queries": ("queries",),
    "seconds": ("seconds_sampling", "seconds_reward", "seconds_learning"),
    "kl": ("kl_reference_nats",),
}
UNITS = {"queries": "images", "seconds": "s", "kl": "nats"}
SPENT = {
    "queries": "images scored for learning",
    "seconds": "sampling, scoring and learning so far; evaluations not counted",
    "kl": "to the pretrained model, the most so far",
}


@dataclass(frozen=True)
class Budget:
    """What is made equal.

    Attributes:
        kind: "queries", "seconds" or "kl".
        limits: task to the budget at which its runs are compared.
    """

    kind: str
    limits: dict[str, float]

    def __str__(self) -> str:
        """For the heading: "320 images", or a range where the rewards' budgets differ."""
        ends = dict.fromkeys(f"{end:.6g}" for end in (min(self.limits.values()), max(self.limits.values())))
        return f"{' to '.join(ends)} {UNITS[self.kind]}"

    @property
    def measure(self) -> Measure:
        """The training reward of a run at its task's budget; NaN where the run has none there."""
        kind = {"kl": "KL"}.get(self.kind, self.kind)
        return Measure(
            "reward_at_budget",
            "training reward",
            f"`{REWARD}` of a run's last epoch within equal {kind} ({SPENT[self.kind]})",
            "higher",
            self.reward,
        )

    def reward(self, run: RunRecord) -> float:
        at = self.limits.get(run.task)
        capped = self.kind == "kl" or run.algorithm == BASELINE  # staying below is within
        if at is None or not (capped or at <= reach(run, self.kind)):
            return math.nan
        return float(reward_at(curve(run, self.kind), at))


def equal_budget(done: list[RunRecord], kind: str, at: float | None = None) -> Budget:
    """The budget to compare done runs at: `at`, or for each task the largest that all of its learning runs reached.

    The baseline learns nothing: where it ends is no limit to the others, and beyond that its last reward stays.

    Raises:
        ResultsError: where a run lacks the columns, no learning run is done, or none reached `at`.
    """
    curves: dict[str, list[Curve]] = defaultdict(list)
    for run in done:
        measured = curve(run, kind)
        if run.algorithm != BASELINE:
            curves[run.task].append(measured)
    if not curves:
        raise ResultsError("--budget: no run that learns is done, so there is no budget to compare at.")
    furthest = max(reach(run, kind) for run in done if run.algorithm != BASELINE)
    if at is not None and at > furthest and kind != "kl":
        raise ResultsError(f"--at {at:g}: no run got there; the furthest reached {furthest:.6g} {UNITS[kind]}.")
    return Budget(kind, {task: common_budget(runs) if at is None else at for task, runs in curves.items()})


def curve(run: RunRecord, kind: str) -> Curve:
    """What a run had spent at the end of each epoch, and its reward: [epochs] each.

    Raises:
        ResultsError: where the run did not measure it.
    """
    columns = COLUMNS[kind]
    lacking = [column for column in (*columns, REWARD) if column not in run.curve or run.curve[column].isna().any()]
    if lacking:
        where = run.folder / "metrics.jsonl"
        raise ResultsError(f"{where}: lacks {' and '.join(lacking)}; --budget {kind} cannot place this run.")
    spent = run.curve[list(columns)].sum(axis=1).to_numpy(float)
    if kind == "seconds":
        spent = spent.cumsum()
    return kl_spent(spent) if kind == "kl" else spent, run.curve[REWARD].to_numpy(float)


def reach(run: RunRecord, kind: str) -> float:
    """The most that a run spent."""
    return common_budget([curve(run, kind)])
