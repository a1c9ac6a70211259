"""What the report says about tuning: its budget, and what the winners are worth on fresh seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ddpo_bench.analysis.plots.tuning import named
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.filters import number
from ddpo_bench.analysis.statistics import Estimate, estimate
from ddpo_bench.analysis.tuning import STATES, Study, Trial, sign
from ddpo_bench.analysis.tuning_notes import effort, same_budget, seed_clause

FEWEST_FOR_IMPORTANCE = 4  # complete trials
MEASURED: dict[str, Callable[[RunRecord], float]] = {
    "reward": lambda run: run.final,
    "kl": lambda run: run.held_out("kl_reference_nats"),
}


class Search(NamedTuple):
    """One search: what it was given, and what became of its trials."""

    cell: str
    method: str
    texts: list[str]


class Winner(NamedTuple):
    """One objective of one configuration that was run again; `cell` is empty where the line above names it."""

    cell: str
    settings: str
    measure: str
    texts: list[str]


class Tuned(NamedTuple):
    """What the report says about tuning.

    Attributes:
        budget: whether all searches had the same chance, in a sentence.
        no_importance: of which searches the importance of parameters is not known, and why.
        best_files: the files of the best settings, as a command names them.
    """

    budget: str
    searches: list[Search]
    winners: list[Winner]
    no_importance: list[str]
    best_files: list[str]


def tuned(studies: Sequence[Study]) -> Tuned | None:
    """None without studies."""
    if not studies:
        return None
    return Tuned(
        budget=budget_sentence(studies),
        searches=[search(study) for study in studies],
        winners=[line for study in studies for line in winners(study)],
        no_importance=[why_no_importance(study) for study in studies if not study.importance],
        best_files=best_files(studies),
    )


def budget_sentence(studies: Sequence[Study]) -> str:
    """Whether all had the same chance."""
    seeds = seed_clause(studies)
    if len(studies) == 1:
        return f"One search: {effort(studies[0])}, {seeds}."
    images = {images_a_run(study) for study in studies}
    if same_budget(studies) and len(images) == 1:
        length = "" if None in images else f" x {images.pop()} images a run"
        return f"{len(studies)} searches of equal budget: each {effort(studies[0])}{length}, {seeds}."
    return f"{len(studies)} searches of unequal budget, as the table says; {seeds}. Where one had more, it is favoured."


def search(study: Study) -> Search:
    images = images_a_run(study)
    pruned = "" if study.pruner == "none" else f", {study.pruner} pruner"
    whole = "–" if images is None else f"{images * len(study.seeds) * len(study.ended):,}"
    texts = [str(len(study.ended)), ", ".join(map(str, study.seeds)), str(images or "–"), whole, ends(study)]
    return Search(study.cell, study.sampler + pruned, texts)


def ends(study: Study) -> str:
    """ "10 complete (2 break a constraint), 1 failed"."""
    states = Counter(trial.state for trial in study.trials)
    broken = sum(not trial.feasible for trial in study.complete)
    note = f" ({broken} {'breaks' if broken == 1 else 'break'} a constraint)" if broken else ""
    return ", ".join(
        f"{states[state]} {state}{note if state == 'complete' else ''}" for state in STATES if states[state]
    )


def images_a_run(study: Study) -> int | None:
    """Reward queries of one run; None where not recorded."""
    return None if study.images is None else study.images // (study.budget * len(study.seeds))


def winners(study: Study) -> Iterator[Winner]:
    """What the search saw of its winners, and what fresh seeds say: a line an objective."""
    for i, winner in enumerate(study.winners):
        trial, runs = study.trial_of(winner), study.runs_of(winner)
        for j, objective in enumerate(study.objectives):
            cell, chosen = study.cell if i == j == 0 else "", settings(study, trial) if j == 0 else ""
            yield Winner(cell, chosen, named(objective), compared(trial, runs, objective, trial.values[j]))


def compared(trial: Trial, runs: list[RunRecord], objective: str, tuned: float) -> list[str]:
    """On the tuning seeds, n, on fresh seeds, n, lost; dashes where a winner was not run again."""
    measured = [MEASURED[objective](run) for run in runs] if objective in MEASURED else []
    places = max(0, 3 - math.floor(math.log10(abs(tuned)))) if tuned else 3  # four significant digits
    before = [number(tuned, places), str(len(trial.per_seed))]
    if not measured or any(map(math.isnan, measured)):
        return [*before, "–", str(len(runs)), "–"]
    fresh = estimate(measured)
    return [*before, interval(fresh, places), str(len(runs)), number(sign(objective) * (tuned - fresh.value), places)]


def settings(study: Study, trial: Trial) -> str:
    """What the search chose; no value is parted from its key."""
    chosen = [f"{parameter.name} {parameter.text(trial.params.get(parameter.key))}" for parameter in study.space]
    return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in chosen)


def interval(found: Estimate, places: int) -> str:
    text = number(found.value, places)
    return f"{text} [{number(found.low, places)}, {number(found.high, places)}]" if found.has_interval else text


def why_no_importance(study: Study) -> str:
    complete = study.complete
    if len(complete) < FEWEST_FOR_IMPORTANCE:
        reason = f"{len(complete)} complete trials are too few"
    elif len({trial.values[0] for trial in complete}) == 1:
        reason = "all its trials are equally good"
    else:
        reason = "none was recorded"
    return f"{study.cell} ({reason})"


def best_files(studies: Sequence[Study]) -> list[str]:
    """The files of the best settings that there are, as a command names them."""
    results = studies[0].path.parent.parent
    names = [*(f"best-{study.cell}.yaml" for study in studies), "best.yaml"]
    return [f"results/{results.resolve().name}/{name}" for name in names if (results / name).exists()]
