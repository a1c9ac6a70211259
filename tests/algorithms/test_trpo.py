"""The natural gradient step against an explicit Fisher matrix, and the line search that holds the exact KL."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import STDS, LinearPolicy, Nearness, draw_rollout, learn

from ddpo_bench.algorithm_bases.conjugate_gradient import conjugate_gradient
from ddpo_bench.algorithm_bases.fisher import Fisher
from ddpo_bench.algorithms import trpo
from ddpo_bench.algorithms.trpo import TRPO, every_transition
from ddpo_bench.config import run_config
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Rollout
from ddpo_bench.quantity import MEAN_UNITS, Quantity
from ddpo_bench.training.sampling import joined, sample_batches

MAX_KL = 0.05


def fisher_of(policy: LinearPolicy, rollout: Rollout) -> Fisher:
    return Fisher(policy, rollout, every_transition(rollout))


def explicit_fisher(policy: LinearPolicy, rollout: Rollout) -> Tensor:
    """sum over steps of mean over samples of J^T J / (std^2 D), [P, P], from J of one output at a time."""
    total = 0.0
    for n in range(len(rollout)):
        for k in range(rollout.steps):
            x = rollout.latents[n, k][None]
            mean = policy.predict(x, rollout.sampler.timesteps[[k]], rollout.conditioning[[n]]).flatten()
            rows = [torch.autograd.grad(m, policy.parameters(), retain_graph=True) for m in mean]
            jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])  # [D, P]
            total = total + jacobian.T @ jacobian / (STDS[k] ** 2 * len(mean) * len(rollout))
    return total


@pytest.mark.usefixtures("float64")
def test_a_product_is_that_of_the_explicit_fisher_matrix() -> None:
    policy = LinearPolicy()
    rollout = draw_rollout(policy, samples=3, micro_batch=2)
    matrix = explicit_fisher(policy, rollout)
    for vector in torch.eye(len(matrix))[::9].unbind():
        torch.testing.assert_close(fisher_of(policy, rollout).product(vector), matrix @ vector)
    assert all(map(torch.equal, policy.parameters(), policy.pretrained))


@pytest.mark.usefixtures("float64")
def test_the_fisher_matrix_is_the_curvature_of_the_exact_kl() -> None:
    policy, algorithm = LinearPolicy(), TRPO()
    rollout = draw_rollout(policy, samples=6)
    count = sum(parameter.numel() for parameter in policy.parameters())
    vector = 1e-3 * torch.randn(count, generator=torch.Generator().manual_seed(0))
    along = fisher_of(policy, rollout).product(vector)
    trpo.move(policy.parameters(), policy.pretrained, vector)
    kl, _ = algorithm.reached(policy, rollout)
    assert kl == pytest.approx((vector @ along).item() / 2, rel=1e-6)  # a linear policy's KL is quadratic


@pytest.mark.usefixtures("float64")
def test_conjugate_gradients_solve_the_damped_system() -> None:
    generator = torch.Generator().manual_seed(0)
    root, right = torch.randn(8, 5, generator=generator), torch.randn(8, generator=generator)
    matrix = root @ root.T  # of rank 5
    found, curvature, residual = conjugate_gradient(matrix.mv, right, 20, damping=0.1)
    damped = matrix + 0.1 * (right @ matrix @ right) / (right @ right) * torch.eye(8)
    torch.testing.assert_close(found, torch.linalg.solve(damped, right), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(curvature, found @ matrix @ found, rtol=1e-4, atol=0)
    assert residual < 1e-5


def updated(rollout_of: LinearPolicy, **options: float) -> tuple[LinearPolicy, dict[str, float]]:
    algorithm = TRPO(max_kl=Quantity(MAX_KL, MEAN_UNITS), **options)
    algorithm.start(rollout_of, seed=0)
    return rollout_of, algorithm.update(rollout_of, draw_rollout(rollout_of))


@pytest.mark.usefixtures("float64")
def test_the_step_is_that_of_the_explicit_natural_gradient() -> None:
    """sqrt(2 delta / g^T F^-1 g) F^-1 g, all of which the KL of a linear policy allows."""
    policy, row = updated(LinearPolicy(), fisher_fraction=1.0, cg_iterations=60, cg_damping=1e-6)
    rollout = draw_rollout(LinearPolicy())
    start = LinearPolicy()
    gradient, _ = TRPO().gradient(start, rollout)
    matrix = explicit_fisher(start, rollout)
    natural = torch.linalg.lstsq(matrix, gradient).solution
    expected = (2 * MAX_KL / (natural @ matrix @ natural)).sqrt() * natural
    step = torch.cat([(p - old).flatten() for p, old in zip(policy.parameters(), policy.pretrained, strict=True)])
    torch.testing.assert_close(matrix @ step.detach(), matrix @ expected, rtol=1e-3, atol=1e-6)
    assert row["trpo/step_share"] == 1
    assert 0.999 * MAX_KL < row["kl_behaviour"] <= MAX_KL


@pytest.mark.usefixtures("float64")
def test_damping_does_not_shorten_the_step() -> None:
    _, row = updated(LinearPolicy(), fisher_fraction=1.0, cg_damping=10.0)
    assert row["kl_behaviour"] >= 0.6 * MAX_KL  # 0.8^2 where rounding alone puts the full step above it


def test_no_update_passes_the_limit_of_the_kl_and_each_improves_the_surrogate() -> None:
    rows = learn(TRPO(max_kl=Quantity(MAX_KL, MEAN_UNITS)), epochs=8, samples=64)[1]
    assert all(0 < row["kl_behaviour"] <= MAX_KL for row in rows)
    assert all(row["trpo/surrogate"] > 0 for row in rows)  # where the mean of the advantages is 0


def test_the_search_backtracks_where_the_step_is_too_long() -> None:
    """A Fisher matrix of a single transition says little of the others."""
    _, row = updated(LinearPolicy(), fisher_fraction=0.001)
    assert 0 <= row["trpo/step_share"] < 1
    assert row["kl_behaviour"] <= MAX_KL


@pytest.mark.parametrize("kind", ["no advantage", "no improvement"])
def test_the_policy_stays_where_no_step_is_good(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, algorithm = LinearPolicy(), TRPO()
    rollout = draw_rollout(policy)
    if kind == "no advantage":
        rollout = dataclasses.replace(rollout, advantages=torch.zeros_like(rollout.advantages))
    else:
        monkeypatch.setattr(TRPO, "reached", lambda *_: (0.0, -1.0))
    algorithm.start(policy, seed=0)
    row = algorithm.update(policy, rollout)
    assert row["trpo/step_share"] == row["kl_behaviour"] == 0
    assert all(map(torch.equal, policy.parameters(), policy.pretrained))


@pytest.mark.parametrize(("adapter", "checkpointing"), [("full", False), ("lora", True)])
def test_products_are_exact_with_attention_lora_and_checkpointing(
    tiny_model: Path, adapter: str, checkpointing: bool
) -> None:
    """v^T F v / 2 is the KL of a small move along v, and F is symmetric."""
    options = {"model": str(tiny_model), "precision": "fp32", "adapter": {"name": adapter}}
    policy_and_sampler = {"policy": {"name": "stable_diffusion", **options}, "sampler": {"name": "ddim", "steps": 2}}
    config = run_config(policy_and_sampler, "test")
    policy, sampler = config.policy.build(), config.sampler.build()
    policy.start(torch.device("cpu"), seed=0)
    policy.prepare_network(compile_blocks=False, gradient_checkpointing=checkpointing)
    sampler.start(policy.scheduler_config, policy.device)
    conditioning, noise = policy.encode(["rain", "smoke", "windows"]), Noise(0, 1, "rollout")
    drawn = joined(sample_batches(policy, sampler, conditioning, 3, noise), 3)
    scores = torch.zeros(3)
    rollout = Rollout(
        ["rain"] * 3, [{}] * 3, conditioning, noise, drawn.latents[:, -1], scores, scores, drawn, Nearness(), sampler, 2
    )
    fisher = Fisher(policy, rollout, every_transition(rollout))
    old = [parameter.detach().clone() for parameter in policy.parameters()]
    count, generator = sum(value.numel() for value in old), torch.Generator().manual_seed(0)
    one, other = (torch.randn(count, generator=generator) for _ in range(2))
    along = fisher.product(one)
    assert all(map(torch.equal, policy.parameters(), old))
    torch.testing.assert_close(one @ fisher.product(other), other @ along, rtol=1e-3, atol=1e-3 * (one @ along).item())
    size = (2e-4 / (one @ along)).sqrt()
    trpo.move(policy.parameters(), old, size * one)
    assert TRPO().reached(policy, rollout)[0] == pytest.approx(1e-4, rel=0.05)
