"""What a loss can ask of a micro-batch, and what rollouts hold of what algorithms need."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from grpo_kl import GRPOWithKL
from toy import LinearPolicy, collector, draw_rollout

from ddpo_bench.algorithm_bases.transitions import transitions
from ddpo_bench.algorithms.frozen import Frozen
from ddpo_bench.protocols import Policy


@dataclass
class Resampler(Frozen):
    """Needs final samples alone, of the pretrained policy."""

    needs: ClassVar = "x_0"

    def acting(self, policy: Policy) -> AbstractContextManager[None]:
        return policy.copy("pretrained")


def moved_policy() -> LinearPolicy:
    policy = LinearPolicy()
    with torch.no_grad():
        policy.bias += 0.3
    return policy


def test_a_loss_can_ask_for_the_pretrained_law() -> None:
    policy = moved_policy()
    rollout = draw_rollout(policy)
    batch = transitions(policy, rollout, torch.arange(4), torch.arange(4))
    assert batch.pretrained.mean.requires_grad is False
    kl = batch.law.kl(batch.pretrained)
    exact = (0.3 / batch.law.std).square() / 2  # the two means are 0.3 apart in each of their dimensions
    torch.testing.assert_close(kl, exact)
    (gradient,) = torch.autograd.grad(kl.sum(), [policy.bias])
    assert (gradient > 0).any()


def test_passes_of_the_pretrained_policy_count_as_work_and_only_where_it_was_asked_for() -> None:
    policy = LinearPolicy()
    for algorithm, passes in ((GRPOWithKL(), 4), (GRPOWithKL(passes=2), 8)):
        rollout = draw_rollout(policy)
        sampled = rollout.network_passes.work
        algorithm.start(policy, seed=0)
        row = algorithm.update(policy, rollout)
        assert rollout.network_passes.work == (1 + passes) * sampled
        assert row["grpo_kl/kl"] >= 0


def test_a_larger_penalty_holds_the_policy_nearer_to_the_pretrained_one() -> None:
    distances = []
    for weight in (0.0, 100.0):
        policy, algorithm = LinearPolicy(), GRPOWithKL(kl_weight=weight, learning_rate=0.03)
        algorithm.start(policy, seed=0)
        source = collector(policy, samples=32, micro_batch=32)
        for epoch in range(4):
            algorithm.update(policy, source.collect(epoch, lambda done: None)[0])
        pairs = zip(policy.parameters(), policy.pretrained, strict=True)
        distances.append(sum(float((now.detach() - then).square().sum()) for now, then in pairs))
    assert distances[1] < distances[0] / 4


def test_a_rollout_for_x_0_alone_stores_no_trajectory_and_has_the_same_samples() -> None:
    policy, source = LinearPolicy(), collector(LinearPolicy(), samples=8, micro_batch=3)
    whole, row = source.collect(1, lambda done: None)
    source = collector(policy, samples=8, micro_batch=3, algorithm=Resampler())
    rollout, same_row = source.collect(1, lambda done: None)
    assert torch.equal(rollout.x_0, whole.latents[:, -1])
    assert torch.equal(rollout.x_0, whole.x_0)
    assert torch.equal(rollout.rewards, whole.rewards)
    assert rollout.steps == whole.steps
    assert rollout.trajectories is None
    assert same_row.keys() == row.keys()
    assert source.compare(1, rollout) == {}
    with pytest.raises(LookupError, match='holds x_0 alone; set `needs = "transitions"`'):
        _ = rollout.latents


def test_the_copy_that_an_algorithm_names_samples_the_rollout() -> None:
    policy = moved_policy()
    of_the_trained = collector(policy, samples=8, micro_batch=8).collect(1, lambda done: None)[0]
    of_the_copy = collector(policy, 8, 8, algorithm=Resampler()).collect(1, lambda done: None)[0]
    of_the_pretrained = draw_rollout(LinearPolicy(), samples=8, micro_batch=8)
    assert torch.equal(of_the_copy.x_0, of_the_pretrained.x_0)
    assert not torch.equal(of_the_copy.x_0, of_the_trained.x_0)
