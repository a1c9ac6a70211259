"""What the search for settings cost, in words: equal for all algorithms or not, and on which seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.tuning import Study
from ddpo_bench.run_folder.places import identity_of


def tuning_notes(studies: list[Study], records: list[RunRecord]) -> list[str]:
    """One note for under a table whose cells were tuned; none where nothing was."""
    if not studies:
        return []
    left = untuned(studies, records)
    each = "Every algorithm was tuned" if not left else "Tuned"
    if same_budget(studies):
        what = f"{each} with {effort(studies[0])}{' a cell' if len(studies) > 1 else ''}"
    else:
        what = f"{each}, not all equally: {'; '.join(f'{study.cell} with {effort(study)}' for study in studies)}"
    others = f" Not tuned: {', '.join(left)}." if left else ""
    return [f"{what}, {seed_clause(studies)}.{others}"]


def effort(study: Study) -> str:
    """ "8 trials x 2 seeds (100 and 101)"."""
    seeds = "seed" if len(study.seeds) == 1 else "seeds"
    return f"{len(study.ended)} trials x {len(study.seeds)} {seeds} ({listed(study.seeds)})"


def same_budget(studies: Sequence[Study]) -> bool:
    """Whether all searches made equally many trials on the same seeds."""
    return len({(len(study.ended), study.seeds) for study in studies}) == 1


def seed_clause(studies: Iterable[Study]) -> str:
    """Whether what is reported was measured on seeds that the search has not seen."""
    seen = sorted(
        {seed for study in studies for seed in study.seeds} & {s for study in studies for s in study.report_seeds}
    )
    if not seen:
        return "on other seeds than reported"
    return (
        f"of which {listed(seen)} {'is' if len(seen) == 1 else 'are'} also reported, so that these results are too good"
    )


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
