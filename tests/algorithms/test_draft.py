"""DRaFT: the gradient through the last steps against finite differences, and its variants by options."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from toy import STDS, LinearPolicy, Nearness, draw_rollout

from ddpo_bench.algorithms.draft import DRaFT
from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.protocols import Rollout

STEPS = len(STDS)
EVERY = torch.arange(8)


def begun(algorithm: DRaFT) -> tuple[LinearPolicy, Rollout]:
    policy = LinearPolicy()
    algorithm.start(policy, seed=0)
    return policy, draw_rollout(policy, samples=len(EVERY), algorithm=algorithm)


def gradients(algorithm: DRaFT, last: int) -> tuple[Tensor, ...]:
    policy, rollout = begun(algorithm)
    return torch.autograd.grad(algorithm.loss(policy, rollout, EVERY, last)[0], policy.parameters())


def finite_differences(loss: Callable[[], Tensor], policy: LinearPolicy, step: float = 1e-5) -> list[Tensor]:
    found = []
    for parameter in policy.parameters():
        flat, slopes = parameter.data.view(-1), []
        for n in range(len(flat)):
            values = []
            for sign in (1, -1):
                flat[n] += sign * step
                values.append(loss())
                flat[n] -= sign * step
            slopes.append((values[0] - values[1]) / (2 * step))
        found.append(torch.stack(slopes).view_as(parameter).detach())
    return found


@pytest.mark.parametrize("last", [1, 2, STEPS])
@pytest.mark.usefixtures("float64")
def test_the_gradient_is_that_of_the_reward_through_the_last_k_steps(last: int) -> None:
    """Every step of the toy has weights of its own, so that a truncated gradient lacks those of earlier steps alone."""
    algorithm = DRaFT()
    policy, rollout = begun(algorithm)

    def loss() -> Tensor:
        """-mean reward, from the stored noise and the tables alone."""
        weight, bias = (table.detach() for table in policy.parameters())
        prompts = rollout.conditioning.pooled.argmax(1)
        noise = [
            rollout.noise.at(EVERY, torch.full_like(EVERY, k), (2, 1, 1), "torch").flatten(1) for k in range(STEPS + 1)
        ]
        x = noise[0].double()
        for k in range(STEPS):
            t = STEPS - 1 - k
            x = x @ weight[t].T + bias[t, prompts] + STDS[k] * noise[k + 1]
        return -Nearness()(x, rollout.prompts, []).scores.mean()

    expected = finite_differences(loss, policy)
    for found, full in zip(gradients(algorithm, last), expected, strict=True):
        kept = torch.arange(STEPS) < last  # timesteps count the steps that are left
        torch.testing.assert_close(found[kept], full[kept], rtol=1e-5, atol=1e-7)
        assert found[~kept].abs().sum() == 0


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
