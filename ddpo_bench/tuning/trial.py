"""One trial: a configuration, trained on every tuning seed as ordinary runs, and what these measure."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from ddpo_bench.analysis.statistics import iqm
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.run_folder.metrics import last_evaluation, learning_curve
from ddpo_bench.sweep.follow import Watcher
from ddpo_bench.sweep.plan import PlannedRun, planned
from ddpo_bench.sweep.queue_item import Claim, Outcome
from ddpo_bench.sweep.sweep_queue import SweepQueue
from ddpo_bench.sweep.tune_block import KL, Tune
from ddpo_bench.sweep.worker import Train, holding, train_all
from ddpo_bench.training.status import Stop
from ddpo_bench.tuning.searching import suggest
from ddpo_bench.tuning.studies import Slot, Studies


class TrialFailed(Exception):
    """A configuration that could not be judged; the message says why."""


class Judged(NamedTuple):
    """What one seed of a trial measured.

    Attributes:
        limited: what the constraints are about, by the names that the `tune:` block gives it.
        curve: epoch to mean training reward.
    """

    reward: float
    kl: float
    limited: dict[str, float]
    curve: dict[int, float]


class RunningTrial:
    """A claimed trial at work."""

    def __init__(
        self, studies: Studies, claim: Claim[Slot], queue: SweepQueue, train: Train, watcher: Watcher | None = None
    ):
        """What it trains with.

        Args:
            queue: in which its runs are entered.
            watcher: of the runs, in a worker in a terminal of its own.
        """
        self.studies, self.claim, self.queue, self.train, self.watcher = studies, claim, queue, train, watcher
        self.tune: Tune = studies.tune
        self.judged: list[Judged] = []
        self.reported: set[int] = set()

    def finish(self) -> None:
        """Bring the trial to its end, whatever this is."""
        try:
            with holding(self.studies, self.claim):
                outcome = self.outcome()
        finally:
            shutil.rmtree(self.claim.item.folder, ignore_errors=True)  # where the heartbeat was
        self.studies.close(self.claim, outcome)

    def outcome(self) -> Outcome:
        try:
            self.begin()
            for seed in self.tune.seeds:
                self.judged.append(self.judge(seed))
                self.weigh()
            return Outcome("done", values=self.values())
        except Stop as stop:
            return Outcome("pruned", str(stop))
        except (ConfigError, Damaged, TrialFailed) as error:
            return Outcome("failed", str(error))

    def begin(self) -> None:
        """Ask for parameters, or take those of the worker that died."""
        self.trial = optuna.Trial(self.studies.with_sampler(self.claim), self.claim.trial_id)
        cell = self.claim.item.cell
        self.cell = self.studies.suite.changed(cell, suggest(self.trial, cell.space))
        self.trial.set_user_attr("hash", self.cell.hash)

    def judge(self, seed: int) -> Judged:
        """Train one seed, unless it was trained before, or see another worker do it."""
        queue = self.queue.for_runs([planned(self.cell, seed)])
        (item,) = queue.items
        while True:
            queue.enter()
            train_all(queue, self.pruned_by_epoch, self.watcher)
            end = item.end_on_disk()
            if end and end.end == "failed":
                raise TrialFailed(f"seed {seed}: {end.reason}")
            if end:  # not so where the pruner of another trial with this configuration stopped it
                return self.read(item.run)

    def read(self, run: PlannedRun) -> Judged:
        folder, reward = self.studies.root / run.folder, f"eval/{run.config.reward.label}"
        row = last_evaluation(folder)
        wanted = {name: KL if name == "kl" else name for name in self.tune.constraints}
        missing = [name for name in (reward, KL, *wanted.values()) if name not in row]
        if missing:
            raise TrialFailed(f"{folder}: did not measure {', '.join(missing)}; it measured {', '.join(row)}")
        if not math.isfinite(row[reward]):
            raise TrialFailed(f"{folder}: the final reward is {row[reward]}")
        limited = {name: float(row[key]) for name, key in wanted.items()}
        return Judged(float(row[reward]), float(row[KL]), limited, learning_curve(folder))

    def weigh(self) -> None:
        """Write down the newest seed, and give up where the pruner says so."""
        seeds = dict(zip(map(str, self.tune.seeds), (one.reward for one in self.judged), strict=False))
        self.trial.set_user_attr("per_seed", seeds)
        if self.tune.pruner == "wilcoxon":
            self.trial.report(self.judged[-1].reward, len(self.judged) - 1)
            if len(self.judged) < len(self.tune.seeds) and self.trial.should_prune():
                raise Stop(f"pruned after {len(self.judged)} seeds")
        if self.tune.pruner == "hyperband":  # epochs that were trained before, or by another worker
            for epoch, reward in self.judged[-1].curve.items():
                self.report_epoch(len(self.judged) - 1, epoch, reward)

    def pruned_by_epoch(self, config: RunConfig, folder: Path, on_row: Callable[[dict[str, Any]], None]) -> None:
        """Train, and after every epoch ask Hyperband whether to continue."""

        def tell_and_ask(row: dict[str, Any]) -> None:
            on_row(row)
            if self.tune.pruner == "hyperband" and "reward_mean" in row:
                self.report_epoch(len(self.judged), row["epoch"], row["reward_mean"])
                if self.trial.should_prune():
                    raise Stop(f"pruned at epoch {row['epoch']} of seed {config.seed}")

        self.train(config, folder, tell_and_ask)

    def report_epoch(self, seeds_before: int, epoch: int, reward: float) -> None:
        """Mean of what each seed so far got last, at a step that means the same seeds and epochs in every trial."""
        step = seeds_before * self.cell.config.epochs + epoch
        before = [one.curve[max(one.curve)] for one in self.judged[:seeds_before]]
        if step not in self.reported:
            self.reported.add(step)
            self.trial.report(float(np.mean([*before, reward])), step)

    def values(self) -> list[float]:
        """The objectives; writes down the constraints, which are met where they are not above 0."""
        for name, limit in self.tune.limits.items():
            mean = float(np.mean([one.limited[name] for one in self.judged]))
            if limit.max is not None:
                self.trial.set_constraint(f"{name} <= {limit.max:g}", mean - limit.max)
            if limit.min is not None:
                self.trial.set_constraint(f"{name} >= {limit.min:g}", limit.min - mean)
        objectives = {"reward": [one.reward for one in self.judged], "kl": [one.kl for one in self.judged]}
        return [float(iqm(objectives[name])) for name in self.tune.objectives]
