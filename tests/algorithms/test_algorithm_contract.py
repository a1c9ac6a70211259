"""What every algorithm promises: this covers a new one the moment it is registered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import every_plugin
import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from toy import LinearPolicy, collector, draw_rollout

from ddpo_bench.config import RunConfig
from ddpo_bench.protocols import Algorithm, Conditioning
from ddpo_bench.registry import get, names

COMMON = {"loss", "grad_norm", "grad_rms"}
OF_TRANSITIONS = {"ratio_deviation_max", "kl_behaviour", "kl_behaviour_nats"}
# documented for every algorithm that has it, hence without a prefix
OF_SOME = {"clip_fraction", "kl_k1", "kl_k3", "kl_penalty"}


@pytest.fixture(params=names("algorithm"))
def make(request: pytest.FixtureRequest) -> Callable[[], Algorithm]:
    return partial(every_plugin.make, "algorithm", request.param)


def updated(algorithm: Algorithm, policy: LinearPolicy, epochs: range) -> list[dict[str, float]]:
    return [algorithm.update(policy, draw_rollout(policy, epoch, algorithm=algorithm)) for epoch in epochs]


def begun(make: Callable[[], Algorithm]) -> tuple[Algorithm, LinearPolicy]:
    algorithm, policy = make(), LinearPolicy()
    algorithm.start(policy, seed=0)
    return algorithm, policy


def test_an_update_resumes_from_a_checkpoint_bit_for_bit(make: Callable[[], Algorithm], tmp_path: Path) -> None:
    unbroken, policy = begun(make)
    rows = updated(unbroken, policy, range(4))

    first, first_policy = begun(make)
    updated(first, first_policy, range(2))
    torch.save({"algorithm": first.state_dict(), "policy": first_policy.state_dict()}, tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    resumed, resumed_policy = begun(make)
    resumed_policy.load_state_dict(saved["policy"])
    resumed.load_state_dict(saved["algorithm"])

    assert updated(resumed, resumed_policy, range(2, 4)) == rows[2:]
    assert all(map(torch.equal, resumed_policy.parameters(), policy.parameters()))


def test_a_checkpoint_from_before_the_first_update_changes_nothing(make: Callable[[], Algorithm]) -> None:
    unbroken, policy = begun(make)
    resumed, resumed_policy = begun(make)
    resumed.load_state_dict(make_state(make))
    assert updated(resumed, resumed_policy, range(2)) == updated(unbroken, policy, range(2))
    assert all(map(torch.equal, resumed_policy.parameters(), policy.parameters()))


def make_state(make: Callable[[], Algorithm]) -> dict[str, Any]:
    return begun(make)[0].state_dict()


def test_metrics_are_finite_numbers_under_documented_names(make: Callable[[], Algorithm]) -> None:
    algorithm, policy = begun(make)
    row = updated(algorithm, policy, range(2))[1]
    assert all(isinstance(value, float) and math.isfinite(value) for value in row.values())
    name = next(name for name in names("algorithm") if isinstance(algorithm, get("algorithm", name)))
    own = {key for key in row if key.startswith(f"{name}/")}
    expected = (COMMON | (OF_TRANSITIONS if algorithm.needs == "transitions" else set())) if algorithm.learns else set()
    assert row.keys() - own - OF_SOME == expected


def test_the_ratio_is_one_before_the_first_update(make: Callable[[], Algorithm]) -> None:
    algorithm, policy = begun(make)
    if algorithm.learns and algorithm.needs == "transitions":
        assert updated(algorithm, policy, range(1))[0]["ratio_deviation_max"] < 1e-5


def test_measuring_takes_a_twentieth_of_an_epochs_passes_at_most(make: Callable[[], Algorithm]) -> None:
    """Counted at the policy itself, a pass with gradients as three."""
    algorithm, policy = begun(make)
    source, cost, predict = collector(policy, samples=64, micro_batch=8, algorithm=algorithm), [0, 0], policy.predict

    def counted(x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        cost[torch.is_grad_enabled()] += len(x_t)
        return predict(x_t, timesteps, conditioning)

    policy.predict = counted  # type: ignore[method-assign]
    for epoch in range(3):
        cost[:] = 0, 0
        rollout, _ = source.collect(epoch, lambda done: None)
        algorithm.update(policy, rollout)
        row = source.compare(epoch, rollout)
        passes = rollout.network_passes
        assert passes.work + passes.measuring == cost[False] + 3 * cost[True]
        if algorithm.needs == "transitions":
            assert row["measuring_fraction"] == passes.measuring_fraction
            assert 0 < passes.measuring_fraction <= 0.025


def test_all_but_frozen_change_the_policy(make: Callable[[], Algorithm]) -> None:
    algorithm, policy = begun(make)
    updated(algorithm, policy, range(2))
    moved = not all(map(torch.equal, policy.parameters(), policy.pretrained))
    assert moved is algorithm.learns


def test_a_run_makes_as_many_updates_of_the_policy_as_its_algorithm_tells(make: Callable[[], Algorithm]) -> None:
    algorithm, policy = begun(make)
    trained, steps = policy.parameters()[0], []
    if algorithm.learns and not hasattr(algorithm, "optimiser"):
        return  # its steps are its own

    def count(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        steps.extend(group for group in optimiser.param_groups if any(p is trained for p in group["params"]))

    hook = register_optimizer_step_post_hook(count)
    updated(algorithm, policy, range(2))
    hook.remove()
    assert len(steps) == algorithm.updates(RunConfig(epochs=2))


def test_a_probe_learns_from_all_samples_at_once_and_leaves_the_algorithm_as_it_was(
    make: Callable[[], Algorithm],
) -> None:
    probed, policy = begun(make)
    if not probed.learns:
        return
    batches, predict = [], policy.predict

    def counted(x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        batches.append(len(x_t) * torch.is_grad_enabled())
        return predict(x_t, timesteps, conditioning)

    rollout = draw_rollout(policy, algorithm=probed)
    policy.predict = counted  # type: ignore[method-assign]
    probed.probe(policy, rollout)
    assert max(batches) == len(rollout)
    for parameter in policy.parameters():
        assert parameter.grad is not None
        parameter.grad = None
    fresh, other = begun(make)
    assert updated(probed, policy, range(2)) == updated(fresh, other, range(2))


def test_a_rollout_is_left_as_it_was(make: Callable[[], Algorithm]) -> None:
    algorithm, policy = begun(make)
    rollout, same = draw_rollout(policy), draw_rollout(policy)
    algorithm.update(policy, rollout)
    for name in ("latents", "log_probs", "rewards", "advantages", "x_0"):
        assert torch.equal(getattr(rollout, name), getattr(same, name))


@pytest.mark.usefixtures("float64")
def test_the_micro_batch_does_not_change_an_update(make: Callable[[], Algorithm]) -> None:
    results = []
    for size in (32, 1, 5, 1000):
        algorithm, policy = begun(make)
        rollout = draw_rollout(policy, algorithm=algorithm)
        row = algorithm.update(policy, dataclasses.replace(rollout, micro_batch=size))
        results.append([*policy.parameters(), *(torch.tensor(row[name]) for name in sorted(row))])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-9)
