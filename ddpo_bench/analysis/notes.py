"""The notes under a table: what its values mean, which runs it leaves out, on what they were measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from ddpo_bench.analysis.measures import BASELINE, Measure
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.tables import TIED, Row

PROVENANCE = {
    "processor": "{}",
    "threads": "threads a run: {}",
    "precision": "{}",
    "platform": "{}",
    "python": "Python {}",
    "torch": "torch {}",
    "diffusers": "diffusers {}",
    "ddpo_bench": "ddpo-bench {}",
    "git_commit": "commit {}",
}


def is_done(record: RunRecord) -> bool:
    return record.status == "done"


def explanations(rows: list[Row], measure: Measure, records: list[RunRecord]) -> list[str]:
    """What the values mean, as far as this table needs it."""
    seeds = {int(str(row.values["n"])) for row in rows}
    average = "Interquartile mean" if max(seeds, default=0) > 3 else "Mean"
    what = f"`{measure.key}`" if measure.title == measure.key else f"{measure.title[0].upper()}{measure.title[1:]}"
    notes = [
        f"{what}: {measure.meaning_for(records)}; {measure.direction}. "
        f"{average} [95 % bootstrap interval] over n seeds; "
        f"the difference to {BASELINE}, the pretrained model, is paired seed by seed."
    ]
    if measure.better:
        where = "below" if measure.better == "lower" else "above"
        notes[0] += (
            f" Bold: the best of its reward; {TIED}: its interval overlaps the best's. "
            f"Beats {BASELINE}: its interval lies wholly {where} that of {BASELINE}."
        )
    return [*notes, *few_seeds(seeds)]


def few_seeds(seeds: set[int]) -> list[str]:
    """What an interval over two or three seeds is worth."""
    return [
        f"An interval over {n} seeds is their range, the most that a bootstrap can say: it holds the true mean "
        f"about {100 * (1 - 2 ** (1 - n)):.0f} % of the time, not 95 %."
        for n in sorted(seeds & {2, 3})  # below four, a replicate of the lowest value alone is likelier than 2.5 %
    ]


def unmeasured(done: list[RunRecord], measure: Measure, where: str = "") -> list[str]:
    """One note that names every done run without the measure; such a cell is empty."""
    lacking = [f"{run.cell} seed {run.seed}" for run in done if math.isnan(measure.of(run))]
    others = "An average over the other seeds could not be compared, so that the cell is empty."
    return [f"No {measure.title}{where}: {', '.join(lacking)}. {others}"] if lacking else []


def truncated_prompts(done: Iterable[RunRecord]) -> list[str]:
    """One note where prompts were longer than the text encoder's input."""
    shares = []
    for run in done:
        drawn = {True: run.config.get("samples_per_epoch"), False: run.config.get("evaluation", {}).get("samples")}
        for row in (*run.epochs, *run.evaluated):
            if row.get("prompts_truncated") and (samples := drawn["queries" in row]):
                shares.append(row["prompts_truncated"] / samples)
    if not shares:
        return []
    what = "of the prompts of an epoch or an evaluation were longer than the text encoder's input"
    return [f"Up to {100 * max(shares):.0f} % {what}: the model did not read their ends."]


def quantities(done: Iterable[RunRecord]) -> list[str]:
    """One note that gives the divergences that runs were set to in both units."""
    found: dict[str, dict[str, None]] = defaultdict(dict)  # a dictionary keeps the order and drops repetitions
    for run in done:
        for key, given in run.provenance.get("quantities", {}).items():
            reading = f"{given['nats']:.3g} nats ({given['mean_units']:.3g} in mean units)"
            found[f"{run.algorithm} {key.removeprefix('algorithm.')}"][reading] = None
    named = [f"{key} {', '.join(readings)}" for key, readings in found.items()]
    return [f"Divergences in both units: {'; '.join(named)}."] if named else []


def unfinished(records: Iterable[RunRecord]) -> list[str]:
    """One note that names every run that is not in the table, with its reason."""
    seeds: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if not is_done(record):
            reason = f" ({' '.join(record.reason.split())})" if record.reason else ""
            seeds[f"{record.cell} {record.status}{reason}"].append(str(record.seed))
    named = [f"{what}: seed {', '.join(which)}" for what, which in seeds.items()]
    return [f"Not done, and left out: {'; '.join(named)}."] if named else []


def provenance(records: list[RunRecord]) -> list[str]:
    """How many runs, on what, with which versions."""
    done = [record for record in records if is_done(record)]
    facts = [f"{len(done)} of {len(records)} runs done"]
    for key, wording in PROVENANCE.items():
        found = sorted({str(record.provenance[key]) for record in done if record.provenance.get(key) is not None})
        facts += [wording.format(" and ".join(found))] if found else []
    return [f"{'; '.join(facts)}."]
