"""The measure "training reward at an equal budget": of reward queries, of seconds, or of KL to the pretrained model."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ddpo_bench.analysis.measures import BASELINE, Measure
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.statistics import Array
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
        if at is None:
            return math.nan
        spent, reward = curve(run, self.kind)
        capped = self.kind == "kl" or run.algorithm == BASELINE  # staying below is within
        return reward_at(spent, reward, at) if capped or at <= spent[-1] else math.nan


def equal_budget(done: list[RunRecord], kind: str, at: float | None = None) -> Budget:
    """The budget to compare done runs at: `at`, or for each task the largest that all of its learning runs reached.

    The baseline learns nothing: where it ends is no limit to the others, and beyond that its last reward stays.

    Raises:
        ResultsError: where a run lacks the columns, no learning run is done, or none reached `at`.
    """
    reached: dict[str, list[float]] = defaultdict(list)
    for run in done:
        spent, _ = curve(run, kind)
        if run.algorithm != BASELINE:
            reached[run.task].append(float(spent[-1]))
    if not reached:
        raise ResultsError("--budget: no run that learns is done, so there is no budget to compare at.")
    furthest = max(map(max, reached.values()))
    if at is not None and at > furthest and kind != "kl":
        raise ResultsError(f"--at {at:g}: no run got there; the furthest reached {furthest:.6g} {UNITS[kind]}.")
    return Budget(kind, {task: min(ends) if at is None else at for task, ends in reached.items()})


def curve(run: RunRecord, kind: str) -> tuple[Array, Array]:
    """What a run had spent at the end of each epoch, never falling, and its reward: [epochs] each.

    KL may fall again; what was spent of it is the most that it was so far.

    Raises:
        ResultsError: where the run did not measure it.
    """
    columns = COLUMNS[kind]
    lacking = [column for column in (*columns, REWARD) if column not in run.curve or run.curve[column].isna().any()]
    if lacking:
        where = run.folder / "metrics.jsonl"
        raise ResultsError(f"{where}: lacks {' and '.join(lacking)}; --budget {kind} cannot place this run.")
    spent = run.curve[list(columns)].sum(axis=1)
    spent = {"queries": spent, "seconds": spent.cumsum(), "kl": spent.cummax()}[kind]
    return spent.to_numpy(float), run.curve[REWARD].to_numpy(float)


def reward_at(spent: Array, reward: Array, budget: float) -> float:
    """The reward of a run's last measurement at or under a budget: what it has if it is stopped there.

    Not interpolated between two measurements: that would use the next one, which the budget did not pay for. Not the
    best so far either: the best of noisy measurements is too high, and a policy that collapsed is not the one it was.

    Args:
        spent, reward: [n], of `curve`; of measurements at the same point the last counts.
    Returns:
        NaN where the run has no measurement within the budget.
    """
    within = np.searchsorted(spent, budget, side="right")
    return float(reward[within - 1]) if within else math.nan
