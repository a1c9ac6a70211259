"""What `ddpo-bench tune` wrote, one search a file of results/<suite>/tuning/, and the note on it under the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord, read_run
from ddpo_bench.checksummed import Damaged, read_checksummed_json
from ddpo_bench.run_folder.places import identity_of
from ddpo_bench.run_folder.plan import read_plan

ENDED = ("complete", "pruned", "failed")
REMEDY = "Delete it and run ddpo-bench tune again."


class Trial(NamedTuple):
    """One configuration that was tried.

    Attributes:
        state: complete, pruned, failed, running or waiting.
        values: one an objective; empty where the trial is not complete.
        per_seed: seed to the first objective, of the seeds that were run.
        feasible: whether it met all constraints.
        hash: of its configuration; None before it runs.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: list[float]
    per_seed: dict[str, float]
    feasible: bool
    hash: str | None

    @property
    def counts(self) -> bool:
        """Whether it can be the best one."""
        return self.state == "complete" and self.feasible


@dataclass(frozen=True)
class Study:
    """The search for one cell's settings.

    Attributes:
        path: its file.
        seeds, report_seeds: what trials were run on, and what winners were run on again.
        budget: trials planned.
        images: scored by all planned trials together, where none is broken off early.
        winners: hashes of the configurations that were run again, best first.
    """

    path: Path
    cell: str
    sampler: str
    pruner: str
    objectives: list[str]
    seeds: list[int]
    report_seeds: list[int]
    budget: int
    images: int
    trials: list[Trial]
    importance: dict[str, float]
    winners: list[str]

    @property
    def ended(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state in ENDED]

    @property
    def effort(self) -> str:
        """ "8 trials x 2 seeds (100 and 101)"."""
        seeds = "seed" if len(self.seeds) == 1 else "seeds"
        return f"{len(self.ended)} trials x {len(self.seeds)} {seeds} ({listed(self.seeds)})"

    def trial_of(self, identity: str) -> Trial:
        return next(trial for trial in self.trials if trial.hash == identity)

    def runs_of(self, identity: str) -> list[RunRecord]:
        """The done runs of a configuration on the seeds that are reported."""
        results = self.path.parent.parent
        folders = [f for seed in self.report_seeds for f in results.glob(f"runs/*-{identity}/seed-{seed}")]
        return [run for run in map(read_run, folders) if run.status == "done"]


def read_studies(results: Path) -> list[Study]:
    """All studies of results/<suite>, by name; empty where nothing was tuned.

    Those of an earlier plan, whose winners the present one does not have, are left out.

    Raises:
        Damaged: where a file is damaged.
    """
    planned = {cell["hash"] for cell in read_plan(results).get("cells", [])}
    studies = [read_study(path) for path in sorted(results.glob("tuning/*.json"))]
    return [study for study in studies if not planned or not study.winners or planned & set(study.winners)]


def read_study(path: Path) -> Study:
    """One study.

    Raises:
        Damaged: with the file, what is wrong in it, and the remedy.
    """
    data = read_checksummed_json(path, REMEDY)
    try:
        trials = [Trial(*(trial[name] for name in Trial._fields)) for trial in data["trials"]]
        found = data | {"path": path, "trials": sorted(trials, key=lambda trial: trial.number)}
        return Study(**{name: found[name] for name in Study.__dataclass_fields__})
    except KeyError as error:
        raise Damaged(f"{path}: not a tuning study (lacks {error}). {REMEDY}") from None


def tuning_notes(studies: list[Study], records: list[RunRecord]) -> list[str]:
    """What the search for settings cost, equal for all algorithms or not, and on which seeds; none without a study."""
    if not studies:
        return []
    left = untuned(studies, records)
    each = "Every algorithm was tuned" if not left else "Tuned"
    if len({(len(study.ended), *study.seeds) for study in studies}) == 1:
        what = f"{each} with {studies[0].effort}{' a cell' if len(studies) > 1 else ''}"
    else:
        what = f"{each}, not all equally: {'; '.join(f'{study.cell} with {study.effort}' for study in studies)}"
    others = f" Not tuned: {', '.join(left)}." if left else ""
    return [f"{what}, {seed_clause(studies)}.{others}"]


def seed_clause(studies: Iterable[Study]) -> str:
    """Whether what is reported was measured on seeds that the search has not seen."""
    seen = sorted({seed for study in studies for seed in {*study.seeds} & {*study.report_seeds}})
    if not seen:
        return "on other seeds than reported"
    return f"of which {listed(seen)} {'is' if len(seen) == 1 else 'are'} also reported, so that these are too good"


def untuned(studies: list[Study], records: list[RunRecord]) -> list[str]:
    """The cells that learn with a configuration that no search has tried."""
    tried = {trial.hash for study in studies for trial in study.trials}
    learned = [record for record in records if record.algorithm not in ("", BASELINE)]
    left = [record for record in learned if identity_of(record.folder) not in tried]
    return list(dict.fromkeys(f"{record.label} on {record.task}" for record in left))


def listed(items: Iterable[object]) -> str:
    """ "0, 1 and 2"."""
    *front, last = map(str, items)
    return f"{', '.join(front)} and {last}" if front else last
