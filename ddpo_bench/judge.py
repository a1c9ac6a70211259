"""What runs are judged by: rewards that score the images of evaluations, whatever a run is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ddpo_bench.choices import Choice
from ddpo_bench.options import LARGEST_COUNT, Bounds
from ddpo_bench.parsing import choose, convert

Group = Literal["suite", "shipped"]
SUITE, SHIPPED = "suite", "shipped"


@dataclass(frozen=True)
class Judge:
    """One reward that judges, as `evaluation.judges` names it.

    Attributes:
        reward: the reward.
        samples: how many of an evaluation's images it scores, the first ones; None for all.
        of_suite: whether it judges because other runs of the suite are trained on it.
    """

    reward: Choice
    samples: int | None = None
    of_suite: bool = False

    @classmethod
    def parse_at(cls, value: Any, where: str, mistakes: list[str]) -> Judge | None:
        """From a reward's name or block, which may also hold `samples`; arguments are those of `parsing.parse`."""
        samples = None
        if isinstance(value, Mapping) and "samples" in value:
            samples, place, own = value["samples"], f"{where}.samples", list[str]()
            convert(int, samples, place, own)
            if not own and (mistake := Bounds(minimum=1, maximum=LARGEST_COUNT).mistake(samples)):
                own.append(f"{place}: {mistake}")
            mistakes += own
            value = {key: inner for key, inner in value.items() if key != "samples"}
        reward = choose("reward", value, where, mistakes)
        return cls(reward, samples) if reward else None

    def plain(self) -> dict[str, Any]:
        """As it is written in YAML."""
        return self.reward.plain() | ({"samples": self.samples} if self.samples else {})


Judges = tuple[Judge | Group, ...]


def with_rewards_of_suite(judges: Judges, rewards: list[Choice]) -> Judges:
    """Judges with a suite's rewards in the place of the word `suite`."""
    if SUITE not in judges:
        return judges
    at = judges.index(SUITE)
    return (*judges[:at], *(Judge(reward, of_suite=True) for reward in rewards), *judges[at + 1 :])
