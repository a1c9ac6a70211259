"""Direct group preference optimisation: the published gradient, the shared noise, and the clip in one direction."""

from __future__ import annotations

import pytest
import torch
from noised_batches import assert_gradient, moved_batch
from torch import Tensor
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.algorithms.dgpo import DGPO
from ddpo_bench.config import ConfigError, run_config

BETA, CLIP, KL = 4.0, 0.05, 0.3


def closed_form(outputs: dict[str, Tensor], batch: NoisedSamples) -> Tensor:
    """As published: sigmoid(beta / G sum A (e - e_ref)), held constant, times the mean of A grad e."""
    target, groups = batch.target.flatten(1), batch.rollout.groups
    errors = {name: (output - target).square().mean(1) for name, output in outputs.items()}
    ratio = (errors["old"] - errors["new"]).exp()
    by_output, done = torch.zeros_like(outputs["new"]), 0
    for group in groups:
        rows = slice(done, done := done + len(group))
        advantages = batch.rollout.advantages[group].double()
        outside = torch.where(advantages > 0, ratio[rows] > 1 + CLIP, ratio[rows] < 1 - CLIP)
        weight = torch.sigmoid(BETA * (advantages * (errors["new"] - errors["pretrained"])[rows]).mean())
        learns = weight * advantages * ~outside
        error = learns[:, None] * (outputs["new"] - target)[rows]
        distance = KL * (outputs["new"] - outputs["pretrained"])[rows]
        by_output[rows] = (error + distance) / len(group) / len(groups)
    return by_output


@pytest.mark.usefixtures("float64")
def test_the_gradient_is_the_published_one_and_that_of_the_distance_to_the_pretrained_policy_is_not_lost() -> None:
    assert_gradient(DGPO(beta=BETA, clip_range=CLIP, kl_weight=KL), closed_form)


@pytest.mark.usefixtures("float64")
def test_the_gradient_is_that_of_the_loss() -> None:
    """The published code differentiates a surrogate whose value is not the loss."""
    algorithm = DGPO(beta=BETA, clip_range=100.0, kl_weight=KL)
    policy, batch = moved_batch(algorithm)

    def loss(*_: Tensor) -> Tensor:
        batch.__dict__.pop("output", None)
        return algorithm.loss(batch)[0]

    assert torch.autograd.gradcheck(loss, tuple(policy.parameters()))


@pytest.mark.usefixtures("float64")
def test_the_samples_of_a_prompt_share_noise_and_timestep() -> None:
    _, batch = moved_batch(DGPO())
    share = (batch.steps / batch.rollout.steps)[:, None]
    noise = batch.x_t.flatten(1) - share * batch.x_0.flatten(1)
    assert len(batch.rollout.groups) == 2
    for index, group in enumerate(batch.rollout.groups):
        rows = batch.tuples == index
        assert torch.equal(batch.samples[rows], group)
        torch.testing.assert_close(noise[rows], noise[rows][:1].expand(len(group), 2))
        assert len(batch.steps[rows].unique()) == 1
    assert not torch.equal(noise[0], noise[-1])


@pytest.mark.parametrize(
    ("advantage", "log_ratio", "stops"),
    [(1.0, 0.1, True), (1.0, 0.01, False), (1.0, -0.1, False), (-1.0, -0.1, True), (-1.0, 0.1, False)],
)
def test_the_clip_stops_only_what_has_gone_far_enough_in_its_own_direction(
    advantage: float, log_ratio: float, stops: bool
) -> None:
    is_far = DGPO(clip_range=CLIP).has_gone_far_enough(torch.tensor([log_ratio]), torch.tensor([advantage]))
    assert is_far.item() is stops


def test_groups_without_spread_teach_nothing() -> None:
    policy, algorithm = LinearPolicy(), DGPO(weight_decay=0.0, kl_weight=0.0)
    algorithm.start(policy, seed=0)
    rollout = draw_rollout(policy, algorithm=algorithm)
    rollout.advantages.zero_()
    assert algorithm.update(policy, rollout)["grad_norm"] == 0
    assert all(map(torch.equal, policy.parameters(), policy.pretrained))


def test_advantages_that_compare_other_prompts_too_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="advantages: dgpo compares the samples of a prompt with each other, and batch"
    ):
        run_config({"algorithm": "dgpo", "advantages": "batch", "samples_per_prompt": 2}, "test")
