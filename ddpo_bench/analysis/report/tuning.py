"""The report's section about tuning: its budget, and what the winners are worth on fresh seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

from ddpo_bench.analysis.plots.tuning import named
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.analysis.report.webpage import breakable, cell, grid, line, paragraph
from ddpo_bench.analysis.statistics import Estimate, estimate
from ddpo_bench.analysis.tuning import STATES, Study, Trial, sign
from ddpo_bench.analysis.tuning_notes import effort, same_budget, seed_clause

WINNERS = (
    "The best configurations of each search, run again on the reported seeds. The best of many noisy measurements is "
    "too good; the figure on fresh seeds is the one to believe, and what is lost from one to the other is how far the "
    "search was fooled, give or take what other prompts and noise do. Interval: 95 % bootstrap, of two or three seeds "
    "their range. Where several of a search were run again, the best of them there is a little lucky too."
)
FEWEST_FOR_IMPORTANCE = 4  # complete trials
MEASURED: dict[str, Callable[[RunRecord], float]] = {
    "reward": lambda run: run.final,
    "kl": lambda run: run.held_out("kl_reference_nats"),
}


def tuning_html(studies: list[Study], figures: str) -> str:
    """Budget, winners, pictures and the files to train from; empty without studies.

    Args:
        figures: the pictures as HTML.
    """
    if not studies:
        return ""
    parts = [paragraph(budget_sentence(studies)), budget_grid(studies)]
    if any(study.winners for study in studies):
        parts += [paragraph(WINNERS), winner_grid(studies)]
    lacking = [why_no_importance(study) for study in studies if not study.importance]
    notes = [paragraph(f"No importance of parameters: {'; '.join(lacking)}.")] if lacking else []
    return "\n".join([*parts, figures, *notes, best_files(studies)])


def budget_sentence(studies: list[Study]) -> str:
    """Whether all had the same chance."""
    seeds = seed_clause(studies)
    if len(studies) == 1:
        return f"One search: {effort(studies[0])}, {seeds}."
    images = {images_a_run(study) for study in studies}
    if same_budget(studies) and len(images) == 1:
        length = "" if None in images else f" x {images.pop()} images a run"
        return f"{len(studies)} searches of equal budget: each {effort(studies[0])}{length}, {seeds}."
    return f"{len(studies)} searches of unequal budget, as the table says; {seeds}. Where one had more, it is favoured."


def budget_grid(studies: list[Study]) -> str:
    """What each search was given and what became of its trials."""
    titles = ["cell", "search", "trials", "seeds", "images a run", "images at most", "what became of them"]
    lines = [line([cell(title, "key" if i < 2 else "", tag="th") for i, title in enumerate(titles)])]
    for study in studies:
        images = images_a_run(study)
        pruned = "" if study.pruner == "none" else f", {study.pruner} pruner"
        whole = "–" if images is None else f"{images * len(study.seeds) * len(study.ended):,}"
        figures = [str(len(study.ended)), ", ".join(map(str, study.seeds)), str(images or "–"), whole, fates(study)]
        head = [cell(breakable(study.cell), "key"), cell(escape(study.sampler + pruned), "key")]
        lines.append(line([*head, *(cell(escape(figure)) for figure in figures)]))
    return grid(lines)


def fates(study: Study) -> str:
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


def winner_grid(studies: list[Study]) -> str:
    """What the search saw of its winners, and what fresh seeds say."""
    heads = ["cell", "settings", "measure", "on the tuning seeds", "n", "on fresh seeds", "n", "lost"]
    lines = [line([cell(head, "key" if i < 3 else "", tag="th") for i, head in enumerate(heads)])]
    for study in studies:
        for i, winner in enumerate(study.winners):
            lines += winner_lines(study, winner, first=i == 0)
    return grid(lines)


def winner_lines(study: Study, winner: str, first: bool) -> list[str]:
    """A line an objective; the cell is named in a study's first line, the settings in a winner's."""
    trial, runs = study.trial_of(winner), study.runs_of(winner)
    lines = []
    for i, objective in enumerate(study.objectives):
        keys = [breakable(study.cell) if first and i == 0 else "", settings(study, trial) if i == 0 else ""]
        cells = [cell(keys[0], "key"), cell(keys[1], "text"), cell(escape(named(objective)), "key")]
        figures = [cell(text) for text in winner_figures(study, trial, runs, i)]
        lines.append(line([*cells, *figures], "first" if first and i == 0 else ""))
    return lines


def winner_figures(study: Study, trial: Trial, runs: list[RunRecord], objective: int) -> list[str]:
    """The four figures of a line; dashes where a winner was not run again."""
    name = study.objectives[objective]
    tuned = trial.values[objective]
    measured = [MEASURED[name](run) for run in runs] if name in MEASURED else []
    fresh = estimate(measured) if measured and not any(map(math.isnan, measured)) else None
    places = decimals(tuned)
    before = [number(tuned, places), str(len(trial.per_seed))]
    if fresh is None:
        return [*before, "–", str(len(runs)), "–"]
    lost = sign(name) * (tuned - fresh.value)
    return [*before, interval(fresh, places), str(len(runs)), number(lost, places)]


def settings(study: Study, trial: Trial) -> str:
    """What the search chose; no value is parted from its key."""
    chosen = [f"{parameter.name} {parameter.text(trial.params.get(parameter.key))}" for parameter in study.space]
    return ", ".join(escape(text).replace(" ", "&nbsp;") for text in chosen)


def interval(figure: Estimate, places: int) -> str:
    text = number(figure.value, places)
    return f"{text} [{number(figure.low, places)}, {number(figure.high, places)}]" if figure.has_interval else text


def number(value: float, places: int) -> str:
    """With a true minus."""
    return f"{value:z.{places}f}".replace("-", "−")


def decimals(value: float) -> int:
    """As many as show four significant digits."""
    return max(0, 3 - math.floor(math.log10(abs(value)))) if value else 3


def why_no_importance(study: Study) -> str:
    complete = study.complete
    if len(complete) < FEWEST_FOR_IMPORTANCE:
        reason = f"{len(complete)} complete trials are too few"
    elif len({trial.values[0] for trial in complete}) == 1:
        reason = "all its trials are equally good"
    else:
        reason = "none was recorded"
    return f"{study.cell} ({reason})"


def best_files(studies: list[Study]) -> str:
    """The files of the best settings that there are, as commands; empty without any."""
    results = studies[0].path.parent.parent
    candidates = [results / f"best-{study.cell}.yaml" for study in studies] + [results / "best.yaml"]
    shown = [f"ddpo-bench train {command_path(results, path)}" for path in candidates if path.exists()]
    if not shown:
        return ""
    return f"{paragraph('The best settings, to train with:')}\n<pre>{escape(chr(10).join(shown))}</pre>"


def command_path(results: Path, path: Path) -> str:
    return f"results/{results.resolve().name}/{path.name}"
