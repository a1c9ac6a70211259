"""Which two models a round of the blind vote draws with: what is rated, and what stands for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.run_folder.places import CELL
from ddpo_bench.serve.agreement import vote_of
from ddpo_bench.serve.ratings import next_pair
from ddpo_bench.serve.votes import Picked, Round

if TYPE_CHECKING:
    from ddpo_bench.serve.models import ServedModel

SEED = 0  # of the choices; with the number of rounds so far it decides the next
NOISE_SEEDS = 2**31


def entries(models: Iterable[ServedModel]) -> dict[str, list[str]]:
    """What is rated, with the ids of the models that draw for it.

    The pretrained model is one entry, an exported LoRA another, and a cell of a suite one over all its seeds.  Frozen
    runs are left out: their pictures are the pretrained model's.
    """
    found: dict[str, list[str]] = {}
    for model in models:
        if model.algorithm != BASELINE:
            found.setdefault(model.id.rpartition("/")[0] if model.kind == "run" else model.id, []).append(model.id)
    return found


def pick(rounds: Sequence[Round], rated: dict[str, list[str]], prompts: Sequence[str]) -> Picked:
    """What the next round draws: the pair on which a vote would tell most, with a prompt and noise at random.

    Args:
        rounds: of the family so far; the same ones always give the same choice.
        rated: as of `entries`, at least two.
        prompts: to choose from.
    """
    random = np.random.default_rng([SEED, len(rounds)])
    known = [found for found in rounds if rated.keys() >= {found.left_entry, found.right_entry}]
    votes = [vote_of(found) for found in known if found.choice]
    left, right = next_pair(votes, list(rated), random)
    return Picked(
        prompt=str(random.choice(list(prompts))),
        seed=int(random.integers(NOISE_SEEDS)),
        left_entry=left,
        left_model=str(random.choice(rated[left])),
        right_entry=right,
        right_model=str(random.choice(rated[right])),
    )


def label(entry: str) -> str:
    """What an entry is called: "ppo-jpeg_compressibility (algos)", "pretrained"."""
    home, _, name = entry.partition("/")
    if home == "pretrained":
        return home
    match = CELL.match(name)
    return f"{match['name'] if match else name} ({home})"
