"""Gradients of the losses against closed forms and finite differences, in float64 on the linear policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from toy import STDS, LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.trajectory import GradientAlgorithm
from ddpo_bench.algorithm_bases.transitions import Transitions, transitions
from ddpo_bench.algorithms.dppo import DPPO
from ddpo_bench.algorithms.grpo import GRPO
from ddpo_bench.algorithms.policy_gradient import PolicyGradient
from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.algorithms.trpo_penalty import TRPOPenalty
from ddpo_bench.protocols import Rollout
from ddpo_bench.quantity import MEAN_UNITS, Quantity
from ddpo_bench.samplers.law import GaussianLaw

pytestmark = pytest.mark.usefixtures("float64")
CLIP, BETA, ENTROPY, DIMENSIONS = 0.1, 3.0, 0.2, 2
Weight = Callable[[Tensor, Tensor], Tensor]  # (advantages, ratio) to d loss / d log_prob of each transition


class Given(GaussianLaw):
    """A law whose log-prob is given."""

    def __init__(self, log_prob: Tensor):
        super().__init__(torch.ones(1))
        self.given = log_prob

    def log_prob(self, x_prev: Tensor) -> Tensor:
        return self.given


def ppo_weight(advantages: Tensor, ratio: Tensor) -> Tensor:
    outside = ((advantages > 0) & (ratio > 1 + CLIP)) | ((advantages < 0) & (ratio < 1 - CLIP))
    return torch.where(outside, 0.0, -advantages * ratio)


def dppo_weight(advantages: Tensor, ratio: Tensor) -> Tensor:
    """With a limit below any KL, what goes outward is dropped."""
    return torch.where(advantages * (ratio - 1) > 0, 0.0, -advantages * ratio)


CASES = [
    pytest.param(PolicyGradient(), lambda a, r: -a * r, 0.0, id="policy_gradient"),
    pytest.param(PolicyGradient(entropy_coef=ENTROPY), lambda a, r: ENTROPY - a * r, 0.0, id="entropy"),
    pytest.param(PPO(clip_range=Quantity(CLIP, MEAN_UNITS)), ppo_weight, 0.0, id="ppo"),
    pytest.param(TRPOPenalty(initial_beta=BETA), lambda a, r: -a * r, BETA, id="trpo_penalty"),
    pytest.param(DPPO(delta=Quantity(1e-9, MEAN_UNITS)), dppo_weight, 0.0, id="dppo"),
    pytest.param(DPPO(delta=Quantity(1e9, MEAN_UNITS)), lambda a, r: -a * r, 0.0, id="dppo without a limit"),
    # which the pretrained policy drew, so that both KLs are the same
    pytest.param(GRPO(clip_range=Quantity(CLIP, MEAN_UNITS), kl_weight=BETA), ppo_weight, BETA, id="grpo"),
]


def every_pair(rollout: Rollout) -> tuple[Tensor, Tensor]:
    n, k = torch.cartesian_prod(torch.arange(len(rollout)), torch.arange(rollout.steps)).unbind(1)
    return n, k


def moved_policy() -> tuple[LinearPolicy, Rollout]:
    """A rollout, and a policy that has since moved so far that some ratios leave the clip range on both sides."""
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy, rollout


def closed_form(policy: LinearPolicy, rollout: Rollout, weight: Weight, beta: float) -> tuple[Tensor, Tensor]:
    """Gradients of the loss by the weight and bias tables, from the Gaussian's formulas alone."""
    by_weight, by_bias = torch.zeros_like(policy.weight), torch.zeros_like(policy.bias)
    n, k = every_pair(rollout)
    t = rollout.sampler.timesteps[k]
    variance = torch.tensor(STDS)[k].square()[:, None]
    prompt = rollout.conditioning.pooled[n].argmax(1)
    x_t, x_prev = rollout.latents[n, k].flatten(1), rollout.latents[n, k + 1].flatten(1)
    weight_old, bias_old = policy.pretrained  # which drew the rollout
    old = torch.einsum("nij,nj->ni", weight_old[t], x_t) + bias_old[t, prompt]
    mean = torch.einsum("nij,nj->ni", policy.weight[t], x_t) + policy.bias[t, prompt]
    square = (x_prev - old).square() - (x_prev - mean).square()
    ratio = (square / (2 * variance)).mean(1).exp()
    score = weight(rollout.advantages[n], ratio)[:, None] * (x_prev - mean) / variance
    by_mean = (score + beta * (mean - old) / variance) / DIMENSIONS / len(n)
    by_weight.index_add_(0, t, by_mean[:, :, None] * x_t[:, None, :])
    by_bias.index_put_((t, prompt), by_mean, accumulate=True)
    return by_weight.detach(), by_bias.detach()


def gradients(algorithm: GradientAlgorithm, policy: LinearPolicy, rollout: Rollout) -> tuple[Tensor, ...]:
    algorithm.start(policy, seed=0)
    loss, _ = algorithm.loss(transitions(policy, rollout, *every_pair(rollout)))
    return torch.autograd.grad(loss, policy.parameters())


@pytest.mark.parametrize(("algorithm", "weight", "beta"), CASES)
def test_the_gradient_is_the_closed_form(algorithm: GradientAlgorithm, weight: Weight, beta: float) -> None:
    policy, rollout = moved_policy()
    found, expected = gradients(algorithm, policy, rollout), closed_form(policy, rollout, weight, beta)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "algorithm",
    [
        PPO(clip_range=Quantity(CLIP, MEAN_UNITS)),
        TRPOPenalty(initial_beta=BETA),
        GRPO(clip_range=Quantity(CLIP, MEAN_UNITS), kl_weight=BETA),
    ],
    ids=["ppo", "trpo_penalty", "grpo"],
)
def test_the_gradient_is_that_of_finite_differences(algorithm: GradientAlgorithm) -> None:
    policy, rollout = moved_policy()
    n, k = every_pair(rollout)
    algorithm.start(policy, seed=0)

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        policy.used = [weight, bias]
        return algorithm.loss(transitions(policy, rollout, n, k))[0]

    assert torch.autograd.gradcheck(loss, tuple(policy.parameters()))


@pytest.mark.parametrize(
    "algorithm",
    [PolicyGradient(), PPO(), TRPOPenalty(initial_beta=1e6)],
    ids=["policy_gradient", "ppo", "trpo_penalty"],
)
def test_on_policy_the_gradient_is_the_advantage_times_the_score(algorithm: GradientAlgorithm) -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    batch = transitions(policy, rollout, *every_pair(rollout))
    expected = torch.autograd.grad(-(batch.advantages * batch.log_prob).mean(), policy.parameters())
    for one, other in zip(gradients(algorithm, policy, rollout), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)  # the rounding of KL, times 1e6


def test_the_exact_kl_has_no_gradient_at_ratio_one() -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy)
    kl = transitions(policy, rollout, *every_pair(rollout)).kl
    assert kl.max() < 1e-12  # rounding of x_prev, without whose noise the mean is recovered
    for gradient in torch.autograd.grad(kl.mean(), policy.parameters()):
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("advantage", "ratio", "learns"),
    [
        (1.0, 1 + 2 * CLIP, False),
        (1.0, 1 + CLIP / 2, True),
        (1.0, 1 - CLIP / 2, True),
        (1.0, 1 - 2 * CLIP, True),
        (-1.0, 1 + 2 * CLIP, True),
        (-1.0, 1 + CLIP / 2, True),
        (-1.0, 1 - CLIP / 2, True),
        (-1.0, 1 - 2 * CLIP, False),
    ],
)
def test_ppo_stops_only_what_has_gone_far_enough_in_its_own_direction(
    advantage: float, ratio: float, learns: bool
) -> None:
    log_prob = torch.tensor([ratio]).log().requires_grad_()
    policy, first = LinearPolicy(), torch.zeros(1, dtype=torch.long)
    rollout = draw_rollout(policy, samples=1)
    rollout.advantages.fill_(advantage)
    x = rollout.latents[first, first]
    batch = Transitions(Given(rollout.log_probs[0, :1] + log_prob), policy, rollout, x, x, first, first)
    algorithm = PPO(clip_range=Quantity(CLIP, MEAN_UNITS))
    algorithm.start(policy, seed=0)
    loss, metrics = algorithm.loss(batch)
    loss.backward()
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad.item(), -advantage * ratio if learns else 0.0)
    assert metrics["clip_fraction"] == (abs(ratio - 1) > CLIP)
