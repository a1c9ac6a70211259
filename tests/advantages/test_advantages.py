"""Advantages against an independent account of DDPO's statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpo_bench.advantages.batch import Batch
from ddpo_bench.advantages.group import Group
from ddpo_bench.advantages.per_prompt import PerPrompt, PerPromptStatTracker
from ddpo_bench.config import ConfigError, run_config


class ReferenceTracker:
    """The per-prompt normalisation of Black et al. 2024 in NumPy, prompt by prompt."""

    def __init__(self, buffer_size: int, min_count: int):
        self.buffer_size, self.min_count = buffer_size, min_count
        self.history: dict[str, list[float]] = {}

    def update(self, prompts: list[str], rewards: list[float]) -> np.ndarray:
        names, values = np.array(prompts), np.array(rewards)
        advantages = np.empty(len(values))
        for prompt in np.unique(names):
            own = names == prompt
            held = (self.history.get(prompt, []) + values[own].tolist())[-self.buffer_size :]
            self.history[prompt] = held
            source = np.array(held) if len(held) >= self.min_count else values
            advantages[own] = (values[own] - np.mean(source)) / (np.std(source) + 1e-6)
        return advantages


batches = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-8, 8).map(lambda i: i / 4)), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(batches=batches, buffer_size=st.integers(1, 8), share=st.floats(0, 1))
def test_per_prompt_statistics_are_those_of_the_reference(
    batches: list[list[tuple[str, float]]], buffer_size: int, share: float
) -> None:
    min_count = max(1, round(share * buffer_size))
    tracker, reference = PerPromptStatTracker(buffer_size, min_count), ReferenceTracker(buffer_size, min_count)
    for batch in batches:
        prompts, rewards = [prompt for prompt, _ in batch], [reward for _, reward in batch]
        found = tracker.update(prompts, torch.tensor(rewards, dtype=torch.float64))
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), reference.update(prompts, rewards), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_rewards_come_as_lists_arrays_or_tensors(kind: type) -> None:
    advantages = PerPromptStatTracker(4, 1).update(["a", "a"], kind([1.0, 3.0]))
    np.testing.assert_allclose(advantages.numpy(), [-1, 1], rtol=1e-5)


def test_a_prompt_seen_too_rarely_is_held_against_the_whole_batch() -> None:
    tracker = PerPromptStatTracker(buffer_size=4, min_count=3)
    advantages = tracker.update(["a", "b", "b", "b"], [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(advantages[0], -1.5 / np.std([0, 1, 2, 3]), rtol=1e-5)
    np.testing.assert_allclose(advantages[1:], np.array([-1, 0, 1]) / np.std([1, 2, 3]), rtol=1e-5, atol=1e-9)


def test_a_prompt_is_its_own_string() -> None:
    tracker = PerPromptStatTracker(buffer_size=4, min_count=1)
    tracker.update(["a dog", "a dog "], [1.0, 2.0])
    assert {prompt: list(buffer) for prompt, buffer in tracker.stats.items()} == {"a dog": [1.0], "a dog ": [2.0]}


def test_flow_grpos_global_std_divides_every_group_by_the_spread_of_the_epoch() -> None:
    """It is its default; DanceGRPO and MixGRPO divide by that of the group."""
    rewards = torch.tensor([0.0, 2.0, 10.0, 16.0, 5.0, 5.0], dtype=torch.float64)
    found = Group(std="global").update(list("aabbcc"), rewards)
    expected = np.array([-1, 1, -3, 3, 0, 0]) / np.std([0, 2, 10, 16, 5, 5])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(Group().update(list("aabbcc"), rewards).numpy(), [-1, 1, -1, 1, 0, 0], rtol=1e-5)


def test_small_differences_on_a_large_offset_survive() -> None:
    """In float32 these rewards would all be equal."""
    rewards = torch.tensor([1e9 + 1, 1e9 - 1, 1e9 + 1, 1e9 - 1], dtype=torch.float64)
    for estimator in (PerPrompt(min_count=2), Batch(), Group()):
        advantages = estimator.update(["a"] * 4, rewards)
        torch.testing.assert_close(advantages, torch.tensor([1.0, -1.0, 1.0, -1.0]), rtol=1e-5, atol=0)


def test_group_advantages_compare_within_a_prompt_of_the_epoch_alone() -> None:
    rewards = torch.tensor([0.0, 10.0, 2.0, 30.0, 7.0], dtype=torch.float64)
    group = Group()
    group.update(["b"] * 5, rewards)
    advantages = group.update(["a", "b", "a", "b", "c"], rewards)
    torch.testing.assert_close(advantages, torch.tensor([-1.0, -1.0, 1.0, 1.0, 0.0]), rtol=1e-5, atol=1e-6)


def test_batch_advantages_compare_the_whole_epoch() -> None:
    rewards = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    expected = (rewards - 2) / np.std([0, 1, 5])
    torch.testing.assert_close(Batch().update(list("abc"), rewards), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"min_count": 1}, {"min_count": 17}, {"buffer_size": 4}])
def test_a_count_that_the_buffer_cannot_hold_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="min_count: must be at"):
        run_config({"advantages": options}, "test")
