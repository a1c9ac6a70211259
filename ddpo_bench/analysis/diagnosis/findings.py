"""The findings of runs, and the lines that tell them: one for each rule and cell, however many seeds show it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ddpo_bench.analysis.diagnosis.metrics import Metrics, Rule
from ddpo_bench.analysis.diagnosis.signal import (
    clipped_advantages,
    collapsed_policy,
    no_advantages,
    spread_between_prompts,
)
from ddpo_bench.analysis.diagnosis.updates import (
    clip_never_acts,
    clip_stops_almost_all,
    kl_runs_away,
    kl_without_effect,
    no_contrast,
    ratio_not_one,
    small_gradient,
)
from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.records import RunRecord

RULES: tuple[Rule, ...] = (
    ratio_not_one,
    no_advantages,
    spread_between_prompts,
    clipped_advantages,
    small_gradient,
    clip_never_acts,
    clip_stops_almost_all,
    no_contrast,
    kl_without_effect,
    kl_runs_away,
    collapsed_policy,
)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a run.

    Attributes:
        name: of its section in docs/diagnosis.md.
        sentence: with the figures, without a full stop.
    """

    name: str
    sentence: str

    @property
    def link(self) -> str:
        return f"docs/diagnosis.md#{self.name}"


def findings(run: Metrics) -> list[Finding]:
    """What the rules find; the baseline, which learns nothing, cannot learn wrongly."""
    if run.algorithm.get("name") == BASELINE:
        return []
    told = [(rule.__name__.replace("_", "-"), rule(run)) for rule in RULES]
    return [Finding(name, sentence) for name, sentence in told if sentence]


def metrics_of(record: RunRecord) -> Metrics:
    micro_batch = record.provenance.get("micro_batch") or record.config.get("micro_batch")
    known = micro_batch if isinstance(micro_batch, int) else 0
    noisy_steps = int(record.provenance.get("noisy_steps", 0))
    return Metrics(record.config, record.epochs, record.evaluated, known, noisy_steps)


def diagnosis(records: Iterable[RunRecord]) -> list[str]:
    """One line for each finding and cell, with the seeds that show it and the figures of the first of them."""
    seeds: Counter[Path] = Counter()
    shown: dict[tuple[Path, str], list[tuple[RunRecord, Finding]]] = defaultdict(list)
    for record in records:
        cell = record.folder.parent
        seeds[cell] += 1
        for finding in findings(metrics_of(record)):
            shown[cell, finding.name].append((record, finding))
    return [line(found, seeds[cell]) for (cell, _), found in shown.items()]


def line(found: list[tuple[RunRecord, Finding]], seeds: int) -> str:
    record, finding = found[0]
    share = f", {len(found)} of {seeds} seeds" if seeds > 1 else ""
    return f"{record.cell} seed {record.seed}{share}: {finding.sentence}. See {finding.link}."
