"""Whole steps of the embedded model on tensors without values: what reads one, as `.item()` does, is an error.

On a GPU it would wait for the device, which benchmarks/gpu/checks tests there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from steps import BATCH, PROMPTS, Steps, draw, make_config
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ddpo_bench.algorithm_bases.optimiser import Averages
from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.training.trainer import start_policy


@pytest.fixture(params=["fp32", "bf16"])
def steps(request: pytest.FixtureRequest) -> Iterator[Steps]:
    config = make_config(request.param)
    policy, sampler = start_policy(config, torch.device("cpu"))
    conditioning = policy.encode(PROMPTS)
    mode = FakeTensorMode()
    empty_weights(policy.network, mode)
    for holder in (conditioning, sampler):
        empty_tensors(vars(holder), mode)
    empty_tensors(conditioning.tensors, mode)
    with mode:
        latents = torch.randn(BATCH, len(sampler.timesteps) + 1, *policy.latent_shape)
        log_probs = torch.zeros(BATCH, len(sampler.timesteps))
        yield Steps(config, policy, sampler, conditioning, latents, log_probs)


def empty_weights(network: nn.Module, mode: FakeTensorMode) -> None:
    for part in network.modules():
        for name, weight in part.named_parameters(recurse=False):
            part.register_parameter(name, nn.Parameter(mode.from_tensor(weight.detach()), weight.requires_grad))
        empty_tensors(part._buffers, mode)


def empty_tensors(named: dict[str, object], mode: FakeTensorMode) -> None:
    named.update({name: mode.from_tensor(value) for name, value in named.items() if isinstance(value, Tensor)})


def test_sampling_reads_no_value(steps: Steps) -> None:
    draw(steps.policy, steps.sampler, steps.conditioning)


def test_a_learning_step_reads_no_value(steps: Steps) -> None:
    rows = torch.arange(BATCH)
    minibatch, averages = torch.stack([rows, rows % steps.count], dim=1), Averages()
    algorithm = PPO()
    algorithm.start(steps.policy, seed=0)
    algorithm.optimiser_step(steps.policy, steps.rollout(), minibatch, averages)
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):  # what the end of the epoch reads
        averages.result()
