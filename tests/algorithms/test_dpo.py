"""Online Diffusion-DPO: its gradient in closed form, whom it compares, and what D3PO's clamp stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from noised_batches import assert_gradient, moved_batch
from torch import Tensor
from toy import LinearPolicy, draw_rollout, learn

from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.algorithms.dpo import DPO
from ddpo_bench.config import ConfigError, run_config

BETA = 3.0


def log_ratios(outputs: dict[str, Tensor], batch: NoisedSamples, reference: str) -> Tensor:
    """[P, 2]: by how much the present weights are nearer to the target than the reference, of best and worst."""
    target = batch.target.flatten(1)
    errors = {name: (output - target).square().mean(1) for name, output in outputs.items()}
    return (errors[reference] - errors["new"]).view(-1, 2)


def closed_form(outputs: dict[str, Tensor], batch: NoisedSamples, reference: str = "pretrained") -> Tensor:
    best, worst = log_ratios(outputs, batch, reference).unbind(1)
    weight = BETA / 2 * torch.sigmoid(-BETA / 2 * (best - worst)) / len(best)  # d loss / d error of the best
    by_error = torch.stack([weight, -weight], 1).flatten()[:, None]
    return by_error * (outputs["new"] - batch.target.flatten(1))  # the 2 of a square, and two latent dimensions


@pytest.mark.usefixtures("float64")
def test_the_gradient_is_the_closed_form() -> None:
    assert_gradient(DPO(beta=BETA), closed_form)


@pytest.mark.usefixtures("float64")
def test_the_reference_may_be_the_lagged_policy() -> None:
    assert_gradient(
        DPO(beta=BETA, reference_every=2), lambda outputs, batch: closed_form(outputs, batch, reference="old")
    )


@pytest.mark.usefixtures("float64")
def test_a_batch_is_the_best_and_the_worst_of_each_prompt_on_one_noise_at_one_timestep() -> None:
    _, batch = moved_batch(DPO())
    rollout = batch.rollout
    best, worst = batch.samples.view(-1, 2).unbind(1)
    for n, prompt in enumerate(dict.fromkeys(rollout.prompts)):
        rewards = rollout.rewards[[other == prompt for other in rollout.prompts]]
        assert rollout.prompts[best[n]] == rollout.prompts[worst[n]] == prompt
        assert (rollout.rewards[best[n]], rollout.rewards[worst[n]]) == (rewards.max(), rewards.min())
    share = (batch.steps / rollout.steps)[:, None]
    noise = (batch.x_t.flatten(1) - share * batch.x_0.flatten(1)).view(-1, 2, 2)
    torch.testing.assert_close(noise[:, 0], noise[:, 1])
    assert torch.equal(batch.steps.view(-1, 2)[:, 0], batch.steps.view(-1, 2)[:, 1])


def weights_of_errors(algorithm: DPO, wanted: dict[str, float]) -> tuple[list[float], dict[str, Tensor]]:
    """d loss / d log-ratio of (best, worst), where these have the given log-ratios."""

    class Given(NoisedSamples):
        def output_of(self, name: str) -> Tensor:
            return torch.zeros(2)

        @property
        def output(self) -> Tensor:  # type: ignore[override]
            return output

        def error(self, output: Tensor) -> Tensor:
            return -output

    rollout = draw_rollout(LinearPolicy(), samples=2)
    rollout.rewards = torch.tensor([1.0, 0.0]).double()
    nothing, output = torch.zeros(2), torch.tensor([wanted["best"], wanted["worst"]], requires_grad=True)
    places = torch.arange(2)
    batch = Given(LinearPolicy(), rollout, places, places, torch.zeros(2).long(), 1, nothing, nothing, nothing)
    loss, metrics = algorithm.loss(batch)
    (gradient,) = torch.autograd.grad(loss, output)
    return gradient.tolist(), metrics


@pytest.mark.parametrize(
    ("best", "worst", "stopped"),
    [(0.0, 0.0, [False, False]), (0.2, 0.0, [True, False]), (0.0, -0.2, [False, True]), (-0.2, 0.2, [False, False])],
)
def test_a_clamped_sample_has_no_gradient_and_one_that_went_the_wrong_way_still_has(
    best: float, worst: float, stopped: list[bool]
) -> None:
    """D3PO clamps both ways, so that a preferred sample that became unlikely is lost for good."""
    gradient, metrics = weights_of_errors(DPO(beta=BETA, clip_range=0.1), {"best": best, "worst": worst})
    assert [value == 0 for value in gradient] == stopped
    assert metrics["clip_fraction"] == sum(stopped) / 2
    assert all(weights_of_errors(DPO(beta=BETA), {"best": best, "worst": worst})[0])  # without a clamp


def test_samples_of_equal_rewards_teach_nothing() -> None:
    policy, algorithm = LinearPolicy(), DPO(weight_decay=0.0)
    algorithm.start(policy, seed=0)
    rollout = draw_rollout(policy, algorithm=algorithm)
    rollout.rewards.fill_(-1.0)
    row = algorithm.update(policy, rollout)
    assert (row["dpo/tied_fraction"], row["loss"], row["grad_norm"]) == (1, 0, 0)
    assert all(map(torch.equal, policy.parameters(), policy.pretrained))


def test_an_online_reference_becomes_the_policy_every_so_many_epochs() -> None:
    policy, _ = learn(DPO(reference_every=2), epochs=2)
    assert all(map(torch.equal, policy.copies.values["old"], policy.parameters()))
    policy, _ = learn(DPO(reference_every=3), epochs=2)
    assert all(map(torch.equal, policy.copies.values["old"], policy.pretrained))
    assert "old" not in learn(DPO(), epochs=1)[0].copies.values


def test_a_prompt_with_one_sample_is_refused() -> None:
    data: dict[str, Any] = {"algorithm": "dpo", "samples_per_epoch": 8, "micro_batch": 8}
    with pytest.raises(
        ConfigError, match="samples_per_prompt: dpo compares the samples of a prompt and needs at least 2"
    ):
        run_config(data, "test")
    assert run_config(data | {"samples_per_prompt": 2}, "test").samples_per_prompt == 2
