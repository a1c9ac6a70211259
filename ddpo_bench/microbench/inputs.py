"""Random inputs of the cases, at mixed steps of the schedule, with latents drawn from the transition law."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import ddpo_kernels
import torch
from ddpo_kernels import AffineStep
from torch import Tensor

from ddpo_bench.microbench.cases import LATENTS, Case
from ddpo_bench.microbench.schedule import GUIDANCE, STEPS, exact_table, scheduler

TORCH_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
CLIP_RANGE = 0.2
# By place in the batch: inside and outside the clip range, far enough from its ends for rounding not to matter.  The
# first is inside, so that a batch of one sample has a gradient.
LOG_RATIOS = (0.1, 0.4, -0.1, -0.4)
MOVED = 0.1  # standard deviations between the means of policy and reference
SETS_AT_MOST = 1024  # with this many, even single latents of SD1.5 exceed the cache of an H100


@dataclass(frozen=True)
class Inputs:
    """One set of inputs, which serves every operation.

    Attributes:
        model_output: [2B, C, H, W], (uncond, cond); a leaf of the graph.
        x_t, x_prev, noise: [B, C, H, W], in the case's dtype.
        reference: mean of another policy's law, [B, C, H, W], fp32.
        table: coefficients of the steps, [T, 8].
        index, timestep: the row in the table and its timestep, [B].
        log_prob, log_prob_old, advantages, by_log_prob: [B], fp32; log_prob is a leaf of the graph, by_log_prob the
            gradient with respect to it.
    """

    model_output: Tensor
    x_t: Tensor
    x_prev: Tensor
    noise: Tensor
    reference: Tensor
    table: Tensor
    index: Tensor
    timestep: Tensor
    log_prob: Tensor
    log_prob_old: Tensor
    advantages: Tensor
    by_log_prob: Tensor

    def double(self) -> Inputs:
        """The inputs in float64, with the coefficients before rounding."""
        wide = {
            name: value.detach().double().requires_grad_(value.requires_grad)
            for name, value in vars(self).items()
            if value.is_floating_point()
        }
        return replace(self, **wide | {"table": exact_table().to(self.table.device)})

    @property
    def bytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values())


def make_inputs(case: Case, device: torch.device, seed: int) -> Inputs:
    """One set of inputs, which does not depend on the operation."""
    generator = torch.Generator(device).manual_seed(seed)
    shape, dtype = (case.batch, *LATENTS[case.latent]), TORCH_DTYPES[case.dtype]

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device)

    model_output, x_t, noise = (normal(n, *shape[1:]).to(dtype) for n in (2 * case.batch, case.batch, case.batch))
    table = exact_table().to(device, torch.float32)
    index = torch.randint(STEPS, (case.batch,), generator=generator, device=device)
    step = AffineStep(model_output, x_t, table, index, GUIDANCE)
    drawn = ddpo_kernels.sample(step, noise, with_mean=True, backend="torch")
    log_ratios = [LOG_RATIOS[place % len(LOG_RATIOS)] for place in range(case.batch)]
    std = table[index, 5].view(-1, 1, 1, 1)
    return Inputs(
        model_output=model_output.requires_grad_(),
        x_t=x_t,
        x_prev=drawn.x_prev,
        noise=noise,
        reference=drawn.mean + MOVED * std * normal(*shape),
        table=table,
        index=index,
        timestep=scheduler().timesteps.to(device)[index],
        log_prob=drawn.log_prob.requires_grad_(),
        log_prob_old=drawn.log_prob.detach() - torch.tensor(log_ratios, device=device),
        advantages=normal(case.batch),
        by_log_prob=normal(case.batch),
    )


def make_sets(case: Case, device: torch.device, cache: int, memory: int) -> list[Inputs]:
    """So many sets that `score`, which reads least, reads twice the size of the cache, as far as memory allows.

    Args:
        case: the case.
        device: where the inputs are.
        cache, memory: sizes in bytes.
    """
    first = make_inputs(case, device, 0)
    read = replace(case, operation="score").bytes
    count = min(math.ceil(2 * cache / read), memory // first.bytes, SETS_AT_MOST)
    return [first, *(make_inputs(case, device, seed) for seed in range(1, count))]
