"""Rollouts on the tiny model: what an epoch draws, and what it follows from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpo_bench.advantages.per_prompt import PerPrompt
from ddpo_bench.algorithm_bases.transitions import transitions
from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.config import RunConfig
from ddpo_bench.held_out import TooFewPrompts, split
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Rollout
from ddpo_bench.training.finite import NotFinite
from ddpo_bench.training.rollout import Collector, derived_seed, draw_prompts, prompt_sides, signal
from ddpo_bench.training.sampling import joined, reference_kl, sample_batch, sample_batches
from ddpo_bench.training.trainer import start_policy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def collector(tiny_run: Callable[..., RunConfig]) -> Collector:
    config = tiny_run()
    policy, sampler = start_policy(config, CPU)
    advantages, reward, prompts = config.advantages.build(), config.reward.build(), config.prompts.build()
    parts = (policy, sampler, prompts, reward, advantages, PPO())
    return Collector(*parts, samples=6, repeats=2, micro_batch=4, seed=0)


def collect(collector: Collector, epoch: int) -> Rollout:
    return collector.collect(epoch, lambda done: None)[0]


def same(one: Rollout, other: Rollout) -> bool:
    parts = ("latents", "log_probs", "rewards")
    return one.prompts == other.prompts and all(torch.equal(getattr(one, p), getattr(other, p)) for p in parts)


def test_an_epoch_follows_from_its_seed_and_number_alone(collector: Collector) -> None:
    third = collect(collector, 3)
    fourth = collect(collector, 4)
    assert same(collect(collector, 3), third)
    assert not same(fourth, third)
    assert not same(collect(dataclasses.replace(collector, seed=1), 3), third)


@pytest.mark.parametrize(
    ("broken", "named"), [("predict", "latents of 6 of 6 samples"), ("decode", "images of 6 of 6")]
)
def test_what_is_not_finite_is_named_and_blamed_on_learning_only_after_an_update(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, broken: str, named: str
) -> None:
    method = getattr(collector.policy, broken)
    monkeypatch.setattr(collector.policy, broken, lambda *args: method(*args) * torch.nan)
    with pytest.raises(NotFinite, match=f"^{named}.*before the first update, so the cause is not learning") as first:
        collect(collector, 1)
    assert "learning_rate" not in str(first.value)
    with pytest.raises(NotFinite, match=f"^{named}.*after 2 epochs of learning: it diverged. Lower"):
        collect(collector, 3)


def test_a_rollout_holds_what_its_shapes_promise(collector: Collector) -> None:
    rollout, metrics = collector.collect(1, lambda done: None)
    assert rollout.latents.shape == (6, 3, 4, 8, 8)
    assert rollout.log_probs.shape == (6, 2)
    assert rollout.steps == 2
    assert len(rollout) == len(rollout.prompts) == len(rollout.metadata) == len(rollout.conditioning) == 6
    assert (rollout.rewards.dtype, rollout.advantages.dtype) == (torch.float64, torch.float32)
    assert metrics["reward_mean"] == pytest.approx(rollout.rewards.mean().item())
    assert metrics["reward_max"] == rollout.rewards.max().item()
    assert metrics["images_per_second"] == pytest.approx(6 / metrics["seconds_sampling"])


def test_a_prompt_is_drawn_as_often_in_a_row_as_asked(collector: Collector) -> None:
    prompts = collect(collector, 1).prompts
    assert [prompts[i] == prompts[i + 1] for i in (0, 2, 4)] == [True] * 3
    function, rng = (lambda rng: (str(rng.integers(10**9)), {})), np.random.default_rng(0)
    assert len(set(draw_prompts(function, rng, count=6, repeats=2)[0])) == 3


def test_images_of_one_prompt_differ(collector: Collector) -> None:
    rollout = collect(collector, 1)
    assert not torch.equal(rollout.latents[0, -1], rollout.latents[1, -1])


def test_the_log_probs_are_those_of_the_stored_latents_under_the_means_that_drew_them(collector: Collector) -> None:
    rollout = collect(collector, 1)
    for k in range(rollout.steps):
        samples, step = torch.arange(6), torch.full((6,), k)
        with torch.no_grad():
            batch = transitions(collector.policy, rollout, samples, step)
        torch.testing.assert_close(batch.mean_old, batch.law.mean, rtol=1e-5, atol=1e-6)
        std = batch.law.std.view(-1, 1, 1, 1)
        density = torch.distributions.Normal(batch.mean_old, std).log_prob(rollout.latents[:, k + 1])
        torch.testing.assert_close(rollout.log_probs[:, k], density.mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4)


def test_progress_counts_the_finished_trajectories(collector: Collector) -> None:
    counts: list[int] = []
    collector.collect(1, counts.append)
    assert counts == [4, 6]


def test_trajectories_are_drawn_one_micro_batch_after_the_other(collector: Collector) -> None:
    policy, sampler = collector.policy, collector.sampler
    conditioning = policy.encode(["rain"] * 5)
    noise = Noise(0, 1, "rollout")
    whole = joined(sample_batches(policy, sampler, conditioning, 3, noise), 5)
    with torch.no_grad():
        parts = [sample_batch(policy, sampler, conditioning[:3], noise)]
        parts.append(sample_batch(policy, sampler, conditioning[3:], noise.after(3)))
    assert torch.equal(whole.latents, torch.cat([part.latents for part in parts]))
    assert not whole.latents.requires_grad


def test_the_kl_to_the_pretrained_model_is_zero_until_the_policy_moves(tiny_run: Callable[..., RunConfig]) -> None:
    policy, sampler = start_policy(tiny_run(), CPU)
    conditioning = policy.encode(["rain", "stairs"])

    def kl() -> float:
        drawn = joined(sample_batches(policy, sampler, conditioning, 2, Noise(0, 1, "rollout")), 2)
        return reference_kl(policy, sampler, drawn, conditioning, 2)

    assert kl() < 1e-9  # the rounding of x_prev
    moved = []
    for _ in range(2):
        with torch.no_grad():
            policy.parameters()[-1].add_(0.05)  # the bias of the last convolution
        moved.append(kl())
    assert 0 < moved[0] < moved[1]


def test_the_kl_to_the_pretrained_model_is_that_of_the_two_means_summed_over_steps(
    tiny_run: Callable[..., RunConfig],
) -> None:
    policy, sampler = start_policy(tiny_run(), CPU)
    conditioning = policy.encode(["rain", "stairs"])
    with torch.no_grad():
        policy.parameters()[-1].add_(0.05)
    drawn = joined(sample_batches(policy, sampler, conditioning, 2, Noise(0, 1, "rollout")), 2)
    expected = 0.0
    for k, t in enumerate(sampler.timesteps):
        x_t, step = drawn.latents[:, k], torch.full((2,), k)
        with policy.copy("pretrained"):
            law = sampler.law(policy.predict(x_t, t.expand(2), conditioning), x_t, step, 1.0)
        ours = sampler.law(policy.predict(x_t, t.expand(2), conditioning), x_t, step, 1.0)
        distance = (law.mean - ours.mean) / law.std.view(-1, 1, 1, 1)
        expected += 0.5 * distance.square().mean().item()
    assert reference_kl(policy, sampler, drawn, conditioning, 2) == pytest.approx(expected, rel=1e-5)


def test_derived_seeds_differ_and_stay() -> None:
    seeds = {derived_seed(seed, epoch, use) for seed in range(4) for epoch in range(50) for use in range(3)}
    assert len(seeds) == 4 * 50 * 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, 1, 2) == derived_seed(0, 1, 2)


def test_pictures_of_a_run_come_from_its_newest_checkpoint(tiny_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    from ddpo_bench.training.generate import NoCheckpoint, sample_images
    from ddpo_bench.training.trainer import train

    config = tiny_run("epochs=1")
    with pytest.raises(NoCheckpoint, match="no checkpoint"):
        sample_images(config, ["rain"], 0, tmp_path)
    train(config, tmp_path)
    pretrained, again, trained = (sample_images(config, ["rain", "stairs"], 0, run) for run in (None, None, tmp_path))
    assert pretrained.shape == (2, 16, 16, 3)
    assert pretrained.dtype == np.uint8
    assert np.array_equal(pretrained, again)
    assert not np.array_equal(pretrained, trained)


def test_prompts_that_the_policy_sees_as_one_share_their_statistics_and_are_counted(collector: Collector) -> None:
    prompts = iter(["red " * 20 + "dog", "red " * 20 + "cat", "rain"])
    advantages = PerPrompt(min_count=2)
    _, metrics = dataclasses.replace(
        collector, prompts=lambda rng: (next(prompts), {}), advantages=advantages, samples=3, repeats=1
    ).collect(1, lambda done: None)
    assert sorted(map(len, advantages.tracker.stats.values())) == [1, 2]
    assert metrics["prompts_truncated"] == 2


def test_prompts_that_the_policy_sees_as_one_are_on_one_side(
    tiny_run: Callable[..., RunConfig], collector: Collector, tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text(
        "\n".join("red " * 20 + word for word in ("dog", "cat", "cow", "ant", "bee", "fox"))
    )
    with pytest.raises(TooFewPrompts):
        prompt_sides(tiny_run(prompts={"name": "from_file", "path": str(tmp_path / "long.txt")}), collector.policy)


def test_an_epochs_prompts_depend_on_nothing_but_the_seed_and_the_epoch(tiny_run: Callable[..., RunConfig]) -> None:
    def prompts(*changes: str) -> list[str]:
        config = tiny_run(*changes)
        training, _ = split(config.prompts.build(), config.evaluation.prompts)
        policy, sampler = start_policy(config, CPU)
        parts = (policy, sampler, training, config.reward.build(), config.advantages.build(), PPO())
        made = Collector(*parts, config.samples_per_epoch, 1, config.micro_batch, config.seed)
        return collect(made, 2).prompts

    usual = prompts()
    assert (
        prompts("epochs=9", "micro_batch=4", "evaluation.samples=9", "evaluation.every=1", "sampler.steps=3") == usual
    )
    assert prompts("samples_per_epoch=8")[:4] == usual
    assert prompts("seed=1") != usual


def test_what_an_epoch_has_to_teach_is_counted() -> None:
    """By hand: deviations of 1 and 1 from the mean of "a", none from that of "b", and "c" has no spread of its own."""
    prompts, rewards = ["a", "b", "a", "b", "c"], torch.tensor([1.0, 5.0, 3.0, 5.0, 9.0], dtype=torch.float64)
    found = signal(prompts, rewards, torch.tensor([-2.0, 0.0, 1.0, 0.0, 2.0]), PerPrompt(clip=2.0))
    assert found == {
        "no_advantage_fraction": 2 / 5,
        "advantage_clipped_fraction": 2 / 5,
        "reward_std_within": pytest.approx((2 / 2) ** 0.5),  # two samples more than prompts that are drawn twice
    }
    assert "reward_std_within" not in signal(["a", "b"], rewards[:2], torch.ones(2), PerPrompt())
