"""Noised final samples of the toy under a policy that has moved since, for comparisons with closed forms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from toy import LinearPolicy, draw_rollout

from ddpo_bench.algorithm_bases.forward_process import ForwardProcessAlgorithm
from ddpo_bench.algorithm_bases.noised_samples import NoisedSamples, noised_samples


def move(policy: LinearPolicy, seed: int, scale: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def moved_batch(algorithm: ForwardProcessAlgorithm, samples: int = 12) -> tuple[LinearPolicy, NoisedSamples]:
    """A batch, and a policy whose pretrained, old and present weights all differ."""
    policy = LinearPolicy()
    move(policy, seed=3)
    algorithm.start(policy, seed=0)
    rollout = draw_rollout(policy, samples=samples, algorithm=algorithm)
    move(policy, seed=4)
    together = algorithm.together(rollout)
    count = len(together)
    steps, draws = torch.arange(count) % rollout.steps, torch.zeros(count, dtype=torch.long)
    return policy, noised_samples(policy, rollout, together, steps, draws, algorithm.noise())


def outputs_of(policy: LinearPolicy, batch: NoisedSamples) -> dict[str, Tensor]:
    """[B, 2] each, from the tables alone: of the present, the old and the pretrained weights."""
    t, prompt = batch.rollout.sampler.timesteps[batch.steps], prompts_of(batch)
    tables = policy.copies.values | {"new": [table.detach() for table in policy.parameters()]}
    x_t = batch.x_t.flatten(1)
    return {name: torch.einsum("nij,nj->ni", w[t], x_t) + b[t, prompt] for name, (w, b) in tables.items()}


def prompts_of(batch: NoisedSamples) -> Tensor:
    return batch.rollout.conditioning.pooled[batch.samples].argmax(1)


def assert_gradient(
    algorithm: ForwardProcessAlgorithm, by_output: Callable[[dict[str, Tensor], NoisedSamples], Tensor]
) -> None:
    """Compare the gradient of a loss by the toy's tables with that of a closed form by the outputs, [B, 2]."""
    policy, batch = moved_batch(algorithm)
    expected = by_output(outputs_of(policy, batch), batch)
    t, prompt = batch.rollout.sampler.timesteps[batch.steps], prompts_of(batch)
    weight, bias = (torch.zeros_like(table) for table in policy.parameters())
    weight.index_add_(0, t, expected[:, :, None] * batch.x_t.flatten(1)[:, None, :])
    bias.index_put_((t, prompt), expected, accumulate=True)
    found = torch.autograd.grad(algorithm.loss(batch)[0], policy.parameters())
    torch.testing.assert_close(found, (weight.detach(), bias.detach()), rtol=1e-9, atol=1e-12)
