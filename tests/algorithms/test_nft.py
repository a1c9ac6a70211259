"""DiffusionNFT: its gradient in closed form, one rule for every parametrisation, and its lagged policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from every_plugin import make
from noised_batches import assert_gradient, moved_batch
from torch import Tensor
from toy import STDS, LinearPolicy, Nearness, collector, draw_rollout, learn

from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples
from ddpo_bench.algorithms.nft import NFT
from ddpo_bench.protocols import CopyName

BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DDIM = {"_class_name": "DDIMScheduler", "timestep_spacing": "leading", "steps_offset": 1, "clip_sample": False, **BETAS}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
OPTIONS: dict[str, Any] = {"beta": 0.7, "adv_clip_max": 1.5, "kl_weight": 0.3}


def relative_error_by_output(output: Tensor, batch: NoisedSamples) -> Tensor:
    """d / d output of mean (x_0^ - x_0)^2 / mean |x_0^ - x_0|, with the latter constant; x_0^ = T / (k + 1) output."""
    inverse = (len(STDS) / (batch.steps + 1))[:, None]
    error = inverse * output - batch.x_0.flatten(1)
    return 2 * error * inverse / 2 / error.abs().mean(1, keepdim=True)


def closed_form(outputs: dict[str, Tensor], batch: NoisedSamples) -> Tensor:
    new, old, beta = outputs["new"], outputs["old"], OPTIONS["beta"]
    good = ((batch.advantages / OPTIONS["adv_clip_max"]).clamp(-1, 1)[:, None] + 1) / 2
    positive = relative_error_by_output((1 - beta) * old + beta * new, batch)
    negative = relative_error_by_output((1 + beta) * old - beta * new, batch)
    distance = OPTIONS["kl_weight"] * (new - outputs["pretrained"])
    return (OPTIONS["adv_clip_max"] * (good * positive - (1 - good) * negative) + distance) / len(batch.samples)


@pytest.mark.usefixtures("float64")
def test_the_gradient_is_the_closed_form_and_that_of_the_distance_to_the_pretrained_policy_is_not_lost() -> None:
    """Flow-Factory 122 computed the distance without gradients."""
    assert_gradient(NFT(**OPTIONS), closed_form)


@dataclass
class GivenOutputs(NoisedSamples):
    """Samples whose outputs are given."""

    outputs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def output(self) -> Tensor:  # type: ignore[override]
        return self.outputs["new"]

    def output_of(self, name: CopyName) -> Tensor:
        return self.outputs[name]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
@pytest.mark.usefixtures("float64")
def test_the_rule_is_the_same_whatever_the_model_predicts(prediction: str) -> None:
    sampler = make("sampler", "constant_sde" if prediction == "flow" else "ddim", steps=4)
    sampler.start(
        FLOW if prediction == "flow" else DDIM | {"prediction_type": prediction}, torch.device("cpu"), "torch"
    )
    generator = torch.Generator().manual_seed(0)
    x_0, noise, new, old = torch.randn(4, 5, 3, 2, 2, generator=generator)
    steps, zero, one = torch.arange(5) % 4, torch.zeros(5, 1, 1, 1), torch.ones(5, 1, 1, 1)
    signal, share = (sampler.noised(*given, steps)[0].double() for given in ((one, zero), (zero, one)))
    x_t = signal * x_0 + share * noise
    write = {
        "epsilon": lambda x, e: e,
        "v_prediction": lambda x, e: signal * e - share * x,
        "sample": lambda x, e: x,
        "flow": lambda x, e: e - x,
    }[prediction]
    outputs = {name: write(x, (x_t - signal * x) / share) for name, x in {"new": new, "old": old}.items()}
    rollout = draw_rollout(LinearPolicy(), samples=5)
    rollout.sampler = sampler
    batch = GivenOutputs(
        LinearPolicy(), rollout, torch.arange(5), steps, torch.arange(5), 5, x_0, x_t, write(x_0, noise), outputs
    )
    good = (rollout.advantages / 5).clamp(-1, 1) / 2 + 0.5
    errors = [0.4 * new + 0.6 * old - x_0, 1.4 * old - 0.4 * new - x_0]
    positive, negative = (e.square().flatten(1).mean(1) / e.abs().flatten(1).mean(1) for e in errors)
    expected = 5 / 0.4 * (good * positive + (1 - good) * negative).mean()
    loss, _ = NFT(beta=0.4, kl_weight=0.0).loss(batch)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)  # coefficients are float32


def test_the_contrast_is_exactly_0_while_the_lagged_policy_is_the_new_one() -> None:
    """UniRL 420: 30 rollouts with no lag, so that only reward-weighted regression was left."""
    _, rows = learn(NFT(passes=1, old_decay_rate=0.0), epochs=3)
    assert [row["nft/contrast"] for row in rows] == [0, 0, 0]
    _, rows = learn(NFT(passes=1, old_decay_rate=0.5), epochs=3)
    assert [row["nft/contrast"] > 0 for row in rows] == [False, False, True]
    _, rows = learn(NFT(passes=2, old_decay_rate=0.0), epochs=3)
    assert all(row["nft/contrast"] > 0 for row in rows)  # the second step of an epoch already differs


@pytest.mark.usefixtures("float64")
def test_without_contrast_the_gradient_is_that_of_regression_weighted_by_advantages() -> None:
    algorithm = NFT(kl_weight=0.0, beta=0.3)
    policy, batch = moved_batch(algorithm)
    policy.keep("old")
    found = torch.autograd.grad(algorithm.loss(batch)[0], policy.parameters())
    error = batch.x_0_of(batch.predicted()) - batch.x_0
    relative = error.square().flatten(1).mean(1) / error.detach().abs().flatten(1).mean(1)
    expected = torch.autograd.grad((batch.advantages * relative).mean(), policy.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)  # advantages are float32


def test_the_lagged_policy_draws_the_samples() -> None:
    algorithm, policy = NFT(), LinearPolicy()
    algorithm.start(policy, seed=0)
    before = draw_rollout(policy, algorithm=algorithm)
    with torch.no_grad():
        policy.weight += 1
    assert torch.equal(draw_rollout(policy, algorithm=algorithm).x_0, before.x_0)
    policy.blend("old", 0)
    assert not torch.equal(draw_rollout(policy, algorithm=algorithm).x_0, before.x_0)


@pytest.mark.parametrize(
    ("options", "decays"),
    [
        ({}, {0: 0, 10: 0.01, 500: 0.5, 900: 0.5}),
        ({"old_decay_rate": 0.0075, "old_decay_start": 75, "old_decay_max": 0.999}, {75: 0, 95: 0.15, 1000: 0.999}),
    ],
)
def test_both_published_lags_can_be_set(options: dict[str, float], decays: dict[int, float]) -> None:
    algorithm = NFT(**options)
    for algorithm.rollouts_seen, decay in decays.items():
        assert math.isclose(algorithm.old_decay, decay)


def test_the_scale_of_a_reward_changes_nothing_since_advantages_are_normalised() -> None:
    """Raw rewards in place of advantages would saturate q: the reason why the published code scales some of them."""
    weights = []
    for factor in (1.0, 1000.0):
        algorithm, policy = NFT(), LinearPolicy()
        algorithm.start(policy, seed=0)
        source = collector(policy, 32, 32, algorithm)
        source.reward = Nearness(factor)
        algorithm.update(policy, source.collect(1, lambda done: None)[0])
        weights.append(policy.weight.detach().clone())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


def test_the_pretrained_policy_is_asked_only_where_it_has_a_weight() -> None:
    passes = {}
    for weight in (0.0, 0.1):
        algorithm = NFT(kl_weight=weight)
        batch = moved_batch(algorithm)[1]
        before = batch.rollout.network_passes.work
        _, metrics = algorithm.loss(batch)
        passes[weight] = batch.rollout.network_passes.work - before
        assert ("nft/pretrained_mse" in metrics) is (weight > 0)
    assert passes == {0.0: 12, 0.1: 24}
