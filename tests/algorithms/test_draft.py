"""DRaFT: the gradient through the steps of DDIM against finite differences, and its variants by options."""

from __future__ import annotations

import pytest
import torch
from every_plugin import make
from torch import Tensor
from toy import STDS, LinearPolicy, Nearness, draw_rollout

from ddpo_bench.advantages.batch import Batch
from ddpo_bench.algorithms.draft import DRaFT
from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.protocols import Rollout
from ddpo_bench.training.rollout import Collector

STEPS = len(STDS)
EVERY = torch.arange(8)


def begun(algorithm: DRaFT) -> tuple[LinearPolicy, Rollout]:
    policy = LinearPolicy()
    algorithm.start(policy, seed=0)
    return policy, draw_rollout(policy, samples=len(EVERY), algorithm=algorithm)


def gradients(algorithm: DRaFT, last: int) -> tuple[Tensor, ...]:
    policy, rollout = begun(algorithm)
    return torch.autograd.grad(algorithm.loss(policy, rollout, EVERY, last)[0], policy.parameters())


@pytest.mark.parametrize("k", [1, 3])
def test_the_gradient_flows_through_the_latents_of_ddim(k: int) -> None:
    """A finite difference of all weights along the gradient, as far as it reaches: whole, where k is every step."""
    policy, sampler, algorithm = make("policy", "pooled_diffusion"), make("sampler", "ddim", steps=3), DRaFT(k=k)
    policy.start(torch.device("cpu"), 0)
    sampler.start(policy.scheduler_config, policy.device)
    algorithm.start(policy, seed=0)
    parts = (policy, sampler, make("prompts", "weather"), make("reward", "redness"), Batch(), algorithm)
    rollout = Collector(*parts, 8, 1, 8, seed=0).collect(1, lambda done: None)[0]
    found = torch.autograd.grad(algorithm.loss(policy, rollout, EVERY, k)[0], policy.parameters())
    norm = torch.stack([gradient.norm() for gradient in found]).norm()
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, gradient in zip(policy.parameters(), found, strict=True):
                parameter += sign * 0.01 * gradient / norm
            values.append(algorithm.loss(policy, rollout, EVERY, k)[0].item())
    slope = (values[0] - values[1]) / 0.02
    assert (slope == pytest.approx(norm.item(), rel=0.01)) is (k == 3)


@pytest.mark.usefixtures("float64")
def test_refl_scores_x_0_as_predicted_at_a_late_step_and_learns_from_that_step_alone() -> None:
    algorithm, last = DRaFT(scored="predicted"), 2
    policy, rollout = begun(algorithm)
    x_t = algorithm.drawn(policy, rollout, EVERY, last, until=last).flatten(1)
    assert not x_t.requires_grad
    weight, bias = policy.parameters()
    prompts = rollout.conditioning.pooled.argmax(1)
    predicted = STEPS / (STEPS - last + 1) * (x_t @ weight[last - 1].T + bias[last - 1, prompts])
    loss = -Nearness()(predicted, rollout.prompts, []).scores.mean()
    expected = torch.autograd.grad(loss, policy.parameters())
    torch.testing.assert_close(gradients(algorithm, last), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "seen"),
    [
        (DRaFT(k=3), {3}),
        (DRaFT(k=3, truncation="uniform"), {1, 2, 3}),
        (DRaFT(k=3, truncation="gaussian", k_std=2.0), {1, 2, 3, 4}),
    ],
)
def test_truncation_draws_the_number_of_steps(algorithm: DRaFT, seen: set[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert {algorithm.last_steps(STEPS, generator) for _ in range(100)} == seen


def test_a_reward_without_a_gradient_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="reward: jpeg_compressibility is not differentiable") as refused:
        run_config({"algorithm": "draft", "reward": "jpeg_compressibility"}, "test")
    assert "\n" not in str(refused.value)


def test_more_steps_than_there_are_is_refused() -> None:
    data = {
        "algorithm": {"name": "draft", "k": 11},
        "reward": "target_colour",
        "sampler": {"name": "ddim", "steps": 10},
    }
    with pytest.raises(ConfigError, match=r"algorithm\.k: draft goes back through 11 of 10 denoising steps"):
        run_config(data, "test")
