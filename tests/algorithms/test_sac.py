"""Soft actor-critic on the toy, where the true value of every state is known."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import Tensor
from toy import STDS, TARGETS, Chain, LinearPolicy, collector, draw_rollout, expected_value, learn

from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithm_bases.replay import Replay
from ddpo_bench.algorithms.sac import SAC
from ddpo_bench.protocols import Conditioning, Rollout

NEVER = 1_000_000  # warm-up epochs after which the actor would start
LAST = len(STDS)


@pytest.fixture(scope="module")
def trained() -> tuple[SAC, LinearPolicy]:
    """Critics of the untouched toy policy, trained for some epochs."""
    algorithm = SAC(critic_updates=60, batch=128, critic_learning_rate=3e-3, tau=0.05, warmup_epochs=NEVER)
    policy, _ = learn(algorithm, epochs=10, samples=128)
    return algorithm, policy


@pytest.fixture
def started() -> tuple[SAC, LinearPolicy, Rollout]:
    """An algorithm with critics and a replay of one rollout, before its first actor step."""
    return after_one_rollout()


def after_one_rollout(**options: float) -> tuple[SAC, LinearPolicy, Rollout]:
    settings = {"critic_updates": 1, "batch": 64, "warmup_epochs": NEVER, "alpha": 0.0} | options
    policy, algorithm = LinearPolicy(), SAC(**settings)  # type: ignore[arg-type]
    rollout = draw_rollout(policy, samples=64, micro_batch=64)
    algorithm.start(policy, seed=0)
    algorithm.update(policy, rollout)
    return algorithm, policy, rollout


@torch.no_grad()
def true_values(policy: LinearPolicy, rollout: Rollout, k: int) -> Tensor:
    """[N]: E[reward | x_k, prompt]."""
    x = rollout.latents[:, k].flatten(1)
    columns = [expected_value(policy, x, torch.zeros(2, 2), k, prompt) for prompt in TARGETS]
    place = rollout.conditioning.pooled.argmax(1)
    return torch.stack(columns, 1)[torch.arange(len(x)), place]


@torch.no_grad()
def learned_values(algorithm: SAC, rollout: Rollout, k: int) -> Tensor:
    """[N], in units of the reward."""
    steps, rewards = torch.full((len(rollout),), k), algorithm.replay.rewards
    values = algorithm.critics(rollout.latents[:, k], steps, rollout.conditioning.pooled).mean(0)
    return values * rewards.std().float() + rewards.mean().float()


def parameters(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def actor_gradient(algorithm: SAC, policy: LinearPolicy, rollout: Rollout) -> Tensor:
    """The actor's gradient at all states of a rollout but the last ones."""
    algorithm.replay = Replay.of(rollout)
    n, k = torch.cartesian_prod(torch.arange(len(rollout)), torch.arange(LAST)).unbind(1)
    noise = torch.randn(len(n), *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    loss = algorithm.actor_loss(policy, rollout.sampler, n, k, noise)
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, policy.parameters())])


@pytest.mark.parametrize("k", range(1, LAST + 1))
def test_the_critics_converge_to_the_true_value_of_a_state(trained: tuple[SAC, LinearPolicy], k: int) -> None:
    algorithm, policy = trained
    fresh = draw_rollout(policy, epoch=999, samples=512, micro_batch=512)
    truth, found = true_values(policy, fresh, k), learned_values(algorithm, fresh, k)
    unexplained = (found - truth).square().mean() / truth.var()
    assert unexplained < 0.15


def test_the_value_of_the_final_state_is_its_reward(trained: tuple[SAC, LinearPolicy]) -> None:
    fresh = draw_rollout(trained[1], epoch=999)
    torch.testing.assert_close(true_values(trained[1], fresh, LAST), fresh.rewards.float())


def test_the_actors_gradient_points_to_more_expected_reward(trained: tuple[SAC, LinearPolicy]) -> None:
    """Against the exact gradient of E[reward] when the policy changes at one step and acts as before ever after."""
    algorithm, policy = copy.copy(trained[0]), trained[1]
    rollout = draw_rollout(policy, epoch=999, samples=512, micro_batch=512)
    found, total = actor_gradient(algorithm, policy, rollout), torch.zeros(())
    later = LinearPolicy()
    for k in range(LAST):
        x = rollout.latents[:, k]
        mean = policy.predict(x, Chain.timesteps[k].expand(len(x)), rollout.conditioning).flatten(1)
        for place, prompt in enumerate(TARGETS):
            of_prompt = rollout.conditioning.pooled[:, place] == 1
            noise = STDS[k] ** 2 * torch.eye(2)
            total = total + expected_value(later, mean[of_prompt], noise, k + 1, prompt).sum()
    truth = torch.cat([gradient.flatten() for gradient in torch.autograd.grad(-total, policy.parameters())])
    assert torch.cosine_similarity(found, truth, dim=0) > 0.9


def test_the_actors_gradient_turns_round_when_the_rewards_do() -> None:
    gradients = []
    for factor in (1.0, -1.0):
        policy = LinearPolicy()
        algorithm = SAC(critic_updates=60, batch=64, critic_learning_rate=3e-3, warmup_epochs=NEVER, reward_share=1.0)
        algorithm.start(policy, seed=0)
        rollout = draw_rollout(policy, samples=128, micro_batch=128)
        algorithm.update(policy, dataclasses.replace(rollout, rewards=factor * rollout.rewards))
        gradients.append(actor_gradient(algorithm, policy, rollout))
    assert torch.cosine_similarity(*gradients, dim=0) < -0.5


def test_the_actor_step_leaves_the_critics_alone(started: tuple[SAC, LinearPolicy, Rollout]) -> None:
    algorithm, policy, rollout = started
    before = parameters(algorithm.critics), parameters(algorithm.targets), parameters_of(policy)
    algorithm.actor_step(policy, rollout, 0, torch.Generator().manual_seed(0), Averages())
    assert all(map(torch.equal, before[0], parameters(algorithm.critics)))
    assert all(map(torch.equal, before[1], parameters(algorithm.targets)))
    assert not all(map(torch.equal, before[2], parameters_of(policy)))
    assert all(parameter.grad is None for parameter in algorithm.critics.parameters())


def test_a_critic_step_leaves_the_policy_alone(started: tuple[SAC, LinearPolicy, Rollout]) -> None:
    algorithm, policy, _ = started
    before, critics = parameters_of(policy), parameters(algorithm.critics)
    algorithm.critic_step(torch.Generator().manual_seed(0), Averages())
    assert all(map(torch.equal, before, parameters_of(policy)))
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not all(map(torch.equal, critics, parameters(algorithm.critics)))


def parameters_of(policy: LinearPolicy) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in policy.parameters()]


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_the_targets_move_by_tau_towards_the_critics(tau: float) -> None:
    algorithm, _, _ = after_one_rollout(tau=tau)
    before = parameters(algorithm.targets)
    algorithm.critic_step(torch.Generator().manual_seed(0), Averages())
    after, critics = parameters(algorithm.targets), parameters(algorithm.critics)
    for old, new, critic in zip(before, after, critics, strict=True):
        torch.testing.assert_close(new, old + tau * (critic - old))


def test_the_target_of_a_value_is_the_reward_at_the_end_and_a_mix_before(
    started: tuple[SAC, LinearPolicy, Rollout],
) -> None:
    algorithm, _, rollout = started
    n = torch.arange(8)
    standardised = ((rollout.rewards - rollout.rewards.mean()) / rollout.rewards.std(correction=0)).float()[:8]
    last = algorithm.critic_target(n, torch.full_like(n, LAST))
    torch.testing.assert_close(last, standardised)
    algorithm.reward_share = 0.25
    text = rollout.conditioning.pooled[:8]
    following = algorithm.targets(rollout.latents[n, 2], torch.full_like(n, 2), text).min(0).values
    mixed = algorithm.critic_target(n, torch.full_like(n, 1))
    torch.testing.assert_close(mixed, 0.25 * standardised + 0.75 * following)
    assert not mixed.requires_grad


def test_the_critics_tell_steps_and_prompts_apart(trained: tuple[SAC, LinearPolicy]) -> None:
    algorithm, policy = trained
    x = torch.tensor(TARGETS["left"]).view(1, 2, 1, 1)
    left, right = policy.encode(["left", "right"]).pooled.split(1)
    values = [
        algorithm.critics(x, torch.tensor([k]), text).mean() for k, text in ((LAST, left), (LAST, right), (1, left))
    ]
    assert values[0] > values[1] + 1  # at the target, in standard deviations
    assert abs(values[0] - values[2]) > 0.1


def test_the_replay_keeps_the_latest_rollouts_alone() -> None:
    policy, algorithm = LinearPolicy(), SAC(replay_rollouts=2, critic_updates=1, batch=16, warmup_epochs=NEVER)
    algorithm.start(policy, seed=0)
    rollouts = [draw_rollout(policy, epoch) for epoch in range(3)]
    for rollout in rollouts:
        algorithm.update(policy, rollout)
    assert torch.equal(algorithm.replay.latents, torch.cat([rollout.latents for rollout in rollouts[1:]]))
    assert torch.equal(algorithm.replay.rewards, torch.cat([rollout.rewards for rollout in rollouts[1:]]))
    pooled = torch.cat([rollout.conditioning.pooled for rollout in rollouts[1:]])
    assert torch.equal(algorithm.replay.conditioning.pooled, pooled)


def test_a_batch_is_drawn_from_all_samples_and_steps_of_the_replay() -> None:
    policy, algorithm = LinearPolicy(), SAC(critic_updates=1, batch=4096, warmup_epochs=NEVER)
    algorithm.start(policy, seed=0)
    for epoch in range(3):
        algorithm.update(policy, draw_rollout(policy, epoch, samples=8))
    samples, steps = algorithm.draw(LAST + 1, torch.Generator().manual_seed(0))
    assert len(samples) == len(steps) == 4096
    assert set(zip(samples.tolist(), steps.tolist(), strict=True)) == set(itertools.product(range(24), range(LAST + 1)))


def test_the_replay_keeps_all_that_its_samples_are_conditioned_on() -> None:
    def one(value: float) -> Replay:
        pooled = torch.full((2, 3), value)
        conditioning = Conditioning({"prompt": pooled[:, None], "empty": -pooled}, pooled)
        return Replay(torch.full((2, 2, 1, 1, 1), value), torch.full((2,), value), conditioning)

    replay = one(1.0).extended(one(2.0), most=3)
    conditioning = Replay.from_state(replay.state_dict()).conditioning[torch.tensor([0, 2])]
    assert conditioning.pooled[:, 0].tolist() == [1.0, 2.0]
    assert conditioning.tensors["prompt"][:, 0, 0].tolist() == [1.0, 2.0]
    assert conditioning.tensors["empty"][:, 0].tolist() == [-1.0, -2.0]


def test_the_actor_waits_until_the_critics_know_something() -> None:
    policy, algorithm = LinearPolicy(), SAC(warmup_epochs=2, critic_updates=1, batch=16)
    algorithm.start(policy, seed=0)
    before, source, moved = parameters_of(policy), collector(policy, 16, 16), []
    for epoch in range(3):
        algorithm.update(policy, source.collect(epoch, lambda done: None)[0])
        moved.append(not all(map(torch.equal, before, parameters_of(policy))))
    assert moved == [False, False, True]


def test_a_larger_alpha_holds_the_policy_nearer_to_the_pretrained_one() -> None:
    settings = {"learning_rate": 0.05, "critic_updates": 5, "batch": 32}
    distance = []
    for alpha in (0.0, 100.0):
        policy, _ = learn(SAC(alpha=alpha, **settings), epochs=5, samples=32)  # type: ignore[arg-type]
        distance.append(
            sum(float((p - q).square().sum()) for p, q in zip(parameters_of(policy), policy.pretrained, strict=True))
        )
    assert distance[1] < distance[0] / 4
