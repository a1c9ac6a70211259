"""What algorithms that descend a loss share: which transitions an optimiser step sees, and how they add up."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.optimiser import NonFiniteGradient
from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm, shuffled_pairs
from ddpo_bench.algorithm_bases.transitions import kl_metrics, measure, transitions
from ddpo_bench.algorithms.policy_gradient import PolicyGradient
from ddpo_bench.algorithms.ppo import PPO


def pairs_of(samples: int, steps: int, algorithm: GradientAlgorithm) -> list[torch.Tensor]:
    return list(shuffled_pairs(torch.arange(samples), steps, algorithm, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(("samples", "steps", "updates"), [(7, 5, 1), (7, 5, 3), (1, 4, 2), (8, 10, 5), (2, 1, 9)])
def test_a_pass_trains_on_every_transition_exactly_once(samples: int, steps: int, updates: int) -> None:
    batches = pairs_of(samples, steps, PPO(minibatches=updates))
    seen = [tuple(pair) for pair in torch.cat(batches).tolist()]
    assert sorted(seen) == [(n, k) for n in range(samples) for k in range(steps)]
    assert len(batches) == min(updates, samples * steps)
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


@pytest.mark.parametrize("steps", [1, 4, 10, 50, 100])
def test_a_timestep_fraction_trains_on_the_floor_of_its_share_of_each_trajectory(steps: int) -> None:
    for hundredths in range(1, 101):
        pairs = torch.cat(pairs_of(3, steps, PPO(timestep_fraction=hundredths / 100)))
        assert len(set(map(tuple, pairs.tolist()))) == len(pairs)
        assert pairs[:, 0].bincount().tolist() == [max(1, hundredths * steps // 100)] * 3


def test_timesteps_are_shuffled_independently_for_each_sample() -> None:
    pairs = torch.cat(pairs_of(6, 8, PPO()))
    orders = {tuple(pairs[pairs[:, 0] == sample, 1].tolist()) for sample in range(6)}
    assert len(orders) == 6


def test_every_optimiser_step_sees_as_many_samples_as_it_can() -> None:
    for batch in pairs_of(6, 10, PPO(minibatches=5)):
        assert batch[:, 0].bincount().tolist() == [2] * 6


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_a_step_is_the_mean_over_samples_and_timesteps() -> None:
    policy, algorithm = LinearPolicy(), PolicyGradient()
    rollout = dataclasses.replace(draw_rollout(policy), micro_batch=5)
    algorithm.start(policy, seed=0)
    n, k = torch.cartesian_prod(torch.arange(len(rollout)), torch.arange(rollout.steps)).unbind(1)
    batch = transitions(policy, rollout, n, k)
    whole = torch.autograd.grad(-(batch.advantages * batch.log_prob).mean(), policy.parameters())
    expected = torch.cat([gradient.flatten() for gradient in whole]).norm().item()
    row = algorithm.update(policy, rollout)
    assert row["grad_norm"] == pytest.approx(expected, rel=1e-9)
    assert row["grad_rms"] == pytest.approx(torch.cat([g.flatten() for g in whole]).square().mean().sqrt().item())


def test_an_epsilon_far_above_the_gradient_turns_adam_into_scaled_sgd() -> None:
    """Its first step is lr g / (|g| + eps): lr in every direction, or lr g / eps."""
    moved = {}
    for epsilon in (1e-12, 1.0):
        policy, algorithm = LinearPolicy(), PolicyGradient(adam_epsilon=epsilon, learning_rate=0.01, weight_decay=0.0)
        rollout = draw_rollout(policy)
        small = dataclasses.replace(rollout, advantages=1e-6 * rollout.advantages)
        algorithm.start(policy, seed=0)
        algorithm.update(policy, small)
        moved[epsilon] = (policy.weight.detach() - policy.pretrained[0]).abs().max().item()
    assert moved[1e-12] == pytest.approx(0.01, rel=1e-2)
    assert moved[1.0] < 1e-7


def test_a_gradient_larger_than_the_norm_is_scaled_down_to_it() -> None:
    moved = []
    for factor in (1e3, 1e6):
        policy = LinearPolicy()
        rollout = draw_rollout(policy)
        algorithm = PolicyGradient(max_grad_norm=1e-3)
        algorithm.start(policy, seed=0)
        algorithm.optimiser.adamw = torch.optim.SGD(policy.parameters(), lr=1.0)  # shows the gradient itself
        before = [parameter.detach().clone() for parameter in policy.parameters()]
        algorithm.update(policy, dataclasses.replace(rollout, advantages=factor * rollout.advantages))
        steps = [parameter - old for parameter, old in zip(policy.parameters(), before, strict=True)]
        moved.append(torch.cat([step.flatten() for step in steps]).norm().item())
    assert moved == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_a_gradient_that_is_not_finite_ends_the_update_that_it_was_met_in() -> None:
    policy, algorithm = LinearPolicy(), PPO()
    rollout = draw_rollout(policy)
    algorithm.start(policy, seed=0)
    poisoned = dataclasses.replace(rollout, advantages=rollout.advantages * torch.nan)
    with pytest.raises(NonFiniteGradient, match=r"of the first update is nan, before anything was learned") as raised:
        algorithm.update(policy, poisoned)
    assert "learning_rate" not in str(raised.value)
    policy = LinearPolicy()
    algorithm.start(policy, seed=0)
    algorithm.update(policy, rollout)
    with pytest.raises(NonFiniteGradient, match=r"lower algorithm\.learning_rate"):
        algorithm.update(policy, poisoned)


@pytest.mark.usefixtures("float64")
def test_the_distance_to_the_behaviour_policy_is_the_kl_of_a_whole_trajectory() -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy, samples=512, micro_batch=512)
    rollout.network_passes.work = 10**6
    deviation, kl = measure(policy, rollout, 1.0, torch.Generator().manual_seed(0))
    assert deviation == 0
    assert kl < 1e-28
    with torch.no_grad():
        policy.bias += 0.1
    n, k = torch.cartesian_prod(torch.arange(512), torch.arange(rollout.steps)).unbind(1)
    exact = transitions(policy, rollout, n, k).kl.view(512, -1).sum(1).mean().item()
    deviation, kl = measure(policy, rollout, 1.0, torch.Generator().manual_seed(0))
    assert kl == pytest.approx(exact, rel=1e-6)
    assert deviation > 0
    assert kl_metrics("kl", kl, rollout) == {"kl": kl, "kl_nats": 2 * kl}


@pytest.mark.parametrize(("minibatches", "seen"), [(1, 128), (4, 32)])
def test_the_ratio_is_told_of_every_transition_of_the_first_step_and_costs_no_pass(minibatches: int, seen: int) -> None:
    policy, algorithm = LinearPolicy(), PPO(minibatches=minibatches)
    rollout = draw_rollout(policy)
    rollout.log_probs.sub_(torch.arange(float(rollout.log_probs.numel())).view_as(rollout.log_probs) / 1000)
    algorithm.start(policy, seed=0)
    deviation = algorithm.update(policy, rollout)["ratio_deviation_max"]
    first = pairs_of(len(rollout), rollout.steps, algorithm)[0]
    assert len(first) == seen
    largest = (first[:, 0] * rollout.steps + first[:, 1]).max().item() / 1000
    assert deviation == pytest.approx(math.expm1(largest), rel=1e-4)
    assert rollout.network_passes.work == 128 + 3 * 128
    assert rollout.network_passes.measuring == 6  # for the KL alone: half of a fortieth of all
