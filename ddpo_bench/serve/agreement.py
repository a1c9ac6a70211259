"""Whether the judges agree with people: on the very pictures that were voted on, and in the order of the models."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest, spearmanr

from ddpo_bench.serve.ratings import Rating, Vote, strengths
from ddpo_bench.serve.votes import Round

FEWEST = 3  # models of which a rank correlation says anything


@dataclass(frozen=True)
class Entry:
    """One that is rated.

    Attributes:
        rewards: the mean score of its pictures that were voted on, by judge.
    """

    name: str
    rating: Rating
    votes: int
    rewards: dict[str, float]


@dataclass(frozen=True)
class Judge:
    """How one judge agrees with the votes.

    Attributes:
        agreement: share of the votes in which it scored the chosen picture higher, without ties and equal scores.
        low, high: its 95 % interval (Wilson 1927).
        votes: how many votes that share is of.
        correlation: Spearman's, of ratings and mean scores; None where there are too few models.
    """

    name: str
    agreement: float | None
    low: float | None
    high: float | None
    votes: int
    correlation: float | None


@dataclass(frozen=True)
class Standings:
    """What the votes of one policy family say; entries by rating, the best first."""

    family: str
    entries: list[Entry]
    judges: list[Judge]


def standings(rounds: Iterable[Round]) -> list[Standings]:
    """The ratings of every family that has votes.

    Args:
        rounds: with votes.
    """
    families: dict[str, list[Round]] = defaultdict(list)
    for found in rounds:
        families[found.family].append(found)
    return [of_family(family, voted) for family, voted in sorted(families.items())]


def of_family(family: str, rounds: list[Round]) -> Standings:
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    votes: dict[str, int] = defaultdict(int)
    for found in rounds:
        for side, name in (("left", found.left_entry), ("right", found.right_entry)):
            votes[name] += 1
            for judge, score in found.scores.get(side, {}).items():
                if score is not None and math.isfinite(score):
                    scores[name][judge].append(score)
    means = {name: {judge: sum(held) / len(held) for judge, held in of.items()} for name, of in scores.items()}
    ratings = strengths([vote_of(found) for found in rounds]).ratings()
    entries = [Entry(name, rating, votes[name], means.get(name, {})) for name, rating in ratings.items()]
    entries.sort(key=lambda entry: -entry.rating.value)
    judges = sorted({judge for entry in entries for judge in entry.rewards})
    return Standings(family, entries, [judge_of(name, rounds, entries) for name in judges])


def vote_of(found: Round) -> Vote:
    assert found.choice
    return Vote(found.left_entry, found.right_entry, found.choice)


def judge_of(name: str, rounds: Iterable[Round], entries: Sequence[Entry]) -> Judge:
    agreed = [agrees for found in rounds if (agrees := agrees_with(name, found)) is not None]
    pairs = [(entry.rating.value, entry.rewards[name]) for entry in entries if name in entry.rewards]
    varied = len(pairs) >= FEWEST and len({score for _, score in pairs}) > 1
    correlation = float(spearmanr(pairs).statistic) if varied else None
    if not agreed:
        return Judge(name, None, None, None, 0, correlation)
    test = binomtest(sum(agreed), len(agreed))
    interval = test.proportion_ci(method="wilson")
    return Judge(name, float(test.statistic), float(interval.low), float(interval.high), len(agreed), correlation)


def agrees_with(judge: str, found: Round) -> bool | None:
    """Whether a judge scored the chosen picture higher; None where nobody chose, or it scored both alike."""
    left, right = (found.scores.get(side, {}).get(judge) for side in ("left", "right"))
    if found.choice == "tie" or left is None or right is None or left == right:
        return None
    return (left > right) == (found.choice == "left")


def votes_csv(rounds: Sequence[Round]) -> str:
    """Every vote as a line: who drew what, what was chosen, and every judge's score of both pictures."""
    judges = sorted({judge for found in rounds for scores in found.scores.values() for judge in scores})
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    keys = ("voted", "family", "prompt", "seed", "left_entry", "left_model", "right_entry", "right_model", "choice")
    lines.writerow([*keys, *(f"{side}/{judge}" for side in ("left", "right") for judge in judges)])
    for found in rounds:
        scores = [found.scores.get(side, {}).get(judge) for side in ("left", "right") for judge in judges]
        lines.writerow([*(getattr(found, key) for key in keys), *scores])
    return text.getvalue()
