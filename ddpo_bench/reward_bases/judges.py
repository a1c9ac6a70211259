"""The rewards that a run is judged under, whatever it is trained on, so that over-optimisation shows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ddpo_bench.judge import SHIPPED, Judge, Judges
from ddpo_bench.options import is_required, options_of
from ddpo_bench.protocols import Metadata, Reward
from ddpo_bench.registry import get, names


class Seated(NamedTuple):
    """A judge of an evaluation.

    Attributes:
        reward: not started.
        samples: how many of the evaluation's images it scores, the first ones.
    """

    reward: Reward
    samples: int


def seated(judges: Judges, prompts: list[str], metadata: list[Metadata]) -> dict[str, Seated]:
    """The judges, by their label, that can judge images of all the prompts that are theirs.

    Of several with one label the one that the configuration names itself counts.  Standard error names those that
    cannot judge, shipped ones excepted.
    """
    found: dict[str, Seated] = {}
    for judge in sorted((one for one in judges if isinstance(one, Judge)), key=lambda one: one.of_suite):
        one = Seated(judge.reward.build(), min(judge.samples or len(prompts), len(prompts)))
        if judge.reward.label in found:
            continue
        unfit = next(unfit_for(one, prompts, metadata), None)
        if unfit is not None:
            print(f"evaluation.judges: {judge.reward.label} cannot judge {unfit!r}.", file=sys.stderr, flush=True)
        else:
            found[judge.reward.label] = one
    if SHIPPED in judges:
        found = {name: Seated(one, len(prompts)) for name, one in shipped_judges(prompts, metadata).items()} | found
    return found


def unfit_for(judge: Seated, prompts: list[str], metadata: list[Metadata]) -> Iterator[str]:
    """The prompts that a judge cannot judge, of those that are its own."""
    own = zip(prompts[: judge.samples], metadata, strict=False)
    return (prompt for prompt, facts in own if not judge.reward.can_judge(prompt, facts))


def shipped_judges(prompts: list[str], metadata: Sequence[Metadata] = ()) -> dict[str, Reward]:
    """The rewards that need neither a download nor options, and can judge images of all these prompts, by name."""
    kinds = {name: get("reward", name) for name in names("reward")}
    made: dict[str, Reward] = {name: kind() for name, kind in kinds.items() if kind.offline and not needs_options(kind)}
    facts = metadata or [{}] * len(prompts)
    installed = {name: reward for name, reward in made.items() if not reward.mistakes()}
    return {name: reward for name, reward in installed.items() if all(map(reward.can_judge, prompts, facts))}


def needs_options(kind: type) -> bool:
    return any(is_required(option) for option in options_of(kind).values())
