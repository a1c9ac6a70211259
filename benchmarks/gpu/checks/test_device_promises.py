"""What is promised of whole steps of a policy on the device; the kernels alone have tests/kernels/parity."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import ddpo_kernels
import pytest
import torch
from ddpo_kernels import AffineStep, coefficient_table
from ddpo_kernels.backend import INTERPRETING, fused
from steps import BATCH, Steps, draw

from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithms.ppo import PPO

PRECISIONS = ("fp32", "bf16")
StepsIn = Callable[[str], Steps]
Block = Callable[[], AbstractContextManager[None]]


def measured_on_gpus_alone(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("there is nothing to wait for on a CPU")


def test_triton_kernels_run_on_the_device(device: torch.device) -> None:
    """Compiled on a GPU, interpreted on a CPU; what follows would prove nothing of the reference."""
    assert fused("triton", torch.zeros(1, device=device))
    assert (device.type == "cpu") == INTERPRETING
    assert fused("auto", torch.zeros(1, device=device))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_policys_log_prob_is_the_same_bits_in_sampling_and_learning(steps_in: StepsIn, precision: str) -> None:
    """In the batches that were sampled: the importance ratio is exactly 1 before the first update."""
    steps = steps_in(precision)
    rows = torch.arange(BATCH, device=steps.latents.device)
    for k in range(steps.count):
        assert torch.equal(steps.log_prob(rows, torch.full_like(rows, k)).detach(), steps.log_probs[:, k])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_samples_at_different_steps_in_one_batch_have_the_same_bits(steps_in: StepsIn, precision: str) -> None:
    """As learning mixes them, in batches as large as those of sampling."""
    steps = steps_in(precision)
    rows = torch.arange(BATCH, device=steps.latents.device).flip(0)
    at = torch.arange(BATCH, device=rows.device) % steps.count
    assert torch.equal(steps.log_prob(rows, at).detach(), steps.log_probs[rows, at])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sampling_never_waits_for_the_device(steps_in: StepsIn, never_waiting: Block, precision: str) -> None:
    """Whole trajectories, with their noise."""
    steps = steps_in(precision)
    for block in (nullcontext, never_waiting):  # the first time, kernels are compiled and libraries start
        with block():
            draw(steps.policy, steps.sampler, steps.conditioning)
    measured_on_gpus_alone(steps.policy.device)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_learning_step_never_waits_for_the_device(steps_in: StepsIn, never_waiting: Block, precision: str) -> None:
    """The first of an epoch, which also measures ratios: passes of the network, loss, gradient, optimiser, metrics."""
    steps = steps_in(precision)
    rows = torch.arange(BATCH, device=steps.latents.device)
    minibatch, rollout = torch.stack([rows, rows % steps.count], dim=1), steps.rollout()
    for block in (nullcontext, never_waiting):
        averages, algorithm = Averages(), PPO(learning_rate=1e-30)  # too small to change weights, which are shared
        algorithm.start(steps.policy, seed=0)
        with block():
            algorithm.optimiser_step(steps.policy, rollout, minibatch, averages)
        assert averages.result()["ratio_deviation_max"] == 0
    measured_on_gpus_alone(steps.policy.device)


def test_a_step_replayed_as_a_cuda_graph_gives_the_same_bits(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("there are no CUDA graphs on a CPU")
    ones = torch.ones(2, dtype=torch.float64)
    table = coefficient_table(0.9 * ones, 0.1 * ones, 0.5 * ones).to(device, torch.float32)
    output, x_t, noise = (torch.randn(n, 4, 64, 64, device=device) for n in (16, 8, 8))
    step = AffineStep(output, x_t, table, torch.zeros(8, dtype=torch.int64, device=device), 5.0)
    expected = ddpo_kernels.sample(step, noise)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = ddpo_kernels.sample(step, noise)
    graph.replay()
    assert torch.equal(captured.x_prev, expected.x_prev)
    assert torch.equal(captured.log_prob, expected.log_prob)
