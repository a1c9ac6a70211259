"""Samples without a score: nothing is learned from them, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from every_plugin import make
from run_rows import rows_of
from torch import Tensor

from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Reward, RewardOutput
from ddpo_bench.registry import get, names
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.training.missing_scores import advantages_of, with_means
from ddpo_bench.training.trainer import train

PROMPTS = ["a", "b", "a", "b", "a", "c", "c", "b"]
REWARDS = torch.tensor([1.0, 5.0, 2.0, 3.0, 4.0, 0.5, 0.25, 8.0], dtype=torch.float64)
MISSING = [2, 5, 6]


@pytest.mark.parametrize("name", names("advantages"))
def test_advantages_are_those_of_an_epoch_without_the_sample(name: str) -> None:
    rewards, kept = REWARDS.clone(), [n for n in range(8) if n not in MISSING]
    rewards[MISSING] = math.nan
    estimator, other = make("advantages", name), make("advantages", name)
    for _ in range(3):
        found = advantages_of(estimator, PROMPTS, rewards)
        assert torch.equal(found[kept], other.update([PROMPTS[n] for n in kept], rewards[kept]))
        assert found[MISSING].tolist() == [0, 0, 0]
    assert estimator.state_dict() == other.state_dict()


def test_rewards_are_the_mean_of_the_prompt_or_of_the_epoch() -> None:
    rewards = REWARDS.clone()
    rewards[MISSING] = math.nan
    filled = with_means(PROMPTS, rewards)
    assert filled[2] == (1 + 4) / 2
    assert filled[5] == filled[6] == (1 + 5 + 3 + 4 + 8) / 5
    assert torch.equal(with_means(PROMPTS, REWARDS), REWARDS)


@dataclass
class Flaky(Reward):
    """How red a picture is, except for those that `failing` names by their place in the batch."""

    failing: Callable[[int], bool]

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[dict[str, Any]]) -> RewardOutput:
        failed = [self.failing(n) for n in range(len(images))]
        scores = torch.where(torch.tensor(failed), math.nan, images[:, 0].double().mean(dim=(1, 2)))
        return RewardOutput(
            scores, {"failure": ["no answer" if f else "" for f in failed], "tokens": [3] * len(failed)}
        )


SAC = {"name": "sac", "critic_updates": 1, "actor_updates": 1, "batch": 4, "warmup_epochs": 0}


@pytest.mark.parametrize("algorithm", ["ppo", "dpo", SAC], ids=["ppo", "dpo", "sac"])
def test_a_run_learns_from_the_other_samples(
    algorithm: str | dict[str, Any],
    small_run: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_run(algorithm=algorithm, samples_per_prompt=2, epochs=2)
    monkeypatch.setattr(get("reward", "jpeg_compressibility"), "__new__", lambda cls: Flaky(lambda n: n == 1))
    train(config, tmp_path)
    rows = rows_of(tmp_path)
    assert [row["scores_missing"] for row in rows] == [2, 1, 1, 2]  # the run's reward is a judge as well
    assert [row["reward/tokens"] for row in rows if "queries" in row] == [3, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))


def test_a_run_in_which_nothing_gets_a_score_fails_with_the_reason(
    small_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get("reward", "jpeg_compressibility"), "__new__", lambda cls: Flaky(lambda n: True))
    with pytest.raises(RewardError, match=r"no image got a score, the first because: no answer"):
        train(small_run(epochs=1), tmp_path)
