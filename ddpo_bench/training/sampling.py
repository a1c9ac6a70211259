"""Trajectories drawn from a policy, their images, and their distance to the pretrained policy.

Where several processes train a run, each samples and decodes its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.law import law_of, mean_that_drew, output_and_law
from ddpo_bench.host_memory import empty_like_first
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Conditioning, Policy, Sampler, Trajectories

REFERENCE_SAMPLES = 16  # trajectories of an evaluation on which the KL to the pretrained model is measured


@torch.no_grad()
def sample_batches(
    policy: Policy,
    sampler: Sampler,
    conditioning: Conditioning,
    micro_batch: int,
    noise: Noise,
    on_batch: Callable[[int], None] = lambda done: None,
    on_x_0: Callable[[Tensor, int], None] = lambda x_0, kept: None,
) -> Iterator[Trajectories]:
    """Draw one trajectory a prompt of this process's share, a micro-batch at a time; of a repeated one none is kept.

    Args:
        noise: of the samples, in the order of their prompts; x_T is that of step 0, and step k draws that of k + 1.
        on_batch: called with the number of finished trajectories, those of other processes as this one is getting on.
        on_x_0: called with the final latents of each micro-batch, and how many of them, the first ones, count.
    """
    done, count = 0, len(conditioning)
    for rows, kept in processes.deal(count, micro_batch):
        batch = sample_batch(policy, sampler, conditioning[rows], noise.after(rows.start))
        on_x_0(batch.latents[:, -1], kept)
        yield batch.first(kept)
        done += kept
        on_batch(min(count, done * processes.count()))


def sample_batch(policy: Policy, sampler: Sampler, conditioning: Conditioning, noise: Noise) -> Trajectories:
    """Trajectories of one micro-batch; all of it is on the policy's device, and no step waits for the host."""
    latents: list[Tensor] = []
    log_probs: list[Tensor] = []
    for step in denoising(policy, sampler, conditioning, noise):
        latents = latents or [step.x_t]
        latents.append(step.x_prev)
        log_probs.append(step.log_prob)
    return Trajectories(torch.stack(latents, 1), torch.stack(log_probs, 1), noise)


class Step(NamedTuple):
    """One denoising step of a batch.

    Attributes:
        steps: [B], its index in the sampler's timesteps.
        x_t, x_prev: [B, C, H, W], from where it led and to where.
        output: of the model, as `predict` gives it.
        log_prob: [B], of x_prev, mean units.
    """

    steps: Tensor
    x_t: Tensor
    output: Tensor
    x_prev: Tensor
    log_prob: Tensor


def denoising(policy: Policy, sampler: Sampler, conditioning: Conditioning, noise: Noise) -> Iterator[Step]:
    """The steps of one micro-batch from x_T to x_0, each taken when it is asked for; the caller turns gradients off."""
    draws = noise.draw_steps(
        1 + len(sampler.timesteps), len(conditioning), policy.latent_shape, policy.device, sampler.backend
    )
    x_t, sampler = next(draws), sampler.for_trajectories()
    for k, z in enumerate(draws):
        steps = torch.full((len(x_t),), k, device=policy.device)
        output, law = output_and_law(policy, sampler, x_t, steps, conditioning)
        x_prev, log_prob = law.draw(z)
        yield Step(steps, x_t, output, x_prev, log_prob)
        x_t = x_prev


def joined(batches: Iterator[Trajectories], count: int, on_host: bool = False) -> Trajectories:
    """Micro-batches as one, each moved to its place as soon as it is sampled, with those of other processes.

    Args:
        batches: of this process's share.
        count: trajectories in all.
        on_host: keep latents in host memory rather than on the device.
    """
    first, own = next(batches), processes.share(count)
    kept = Trajectories(
        empty_like_first(first.latents, count, on_host), first.log_probs.new_empty(count, first.log_probs.shape[1]),
        first.noise.after(-own.start),  # of all samples
    )  # fmt: skip
    done = own.start
    for batch in chain([first], batches):
        rows = slice(done, done + len(batch.log_probs))
        kept.latents[rows].copy_(batch.latents, non_blocking=True)
        kept.log_probs[rows] = batch.log_probs
        done = rows.stop
    if on_host and first.latents.device.type == "cuda":
        torch.cuda.current_stream().synchronize()  # the host reads what has arrived
    if processes.count() > 1:
        for of_a_step in kept.latents.unbind(1):  # one after the other, so that nothing is held twice
            of_a_step.copy_(processes.gathered(of_a_step[own], count))
        kept.log_probs.copy_(processes.gathered(kept.log_probs[own], count))
    return kept


def final_latents(batches: Iterable[Trajectories], count: int) -> Tensor:
    """[count, C, H, W]: x_0 of each trajectory, of which nothing else is kept, with those of other processes."""
    return processes.gathered(torch.cat([batch.latents[:, -1].clone() for batch in batches]), count)


@torch.no_grad()
def decode_in_batches(policy: Policy, latents: Tensor, micro_batch: int) -> Tensor:
    """Images of this process's share of the latents, [share, 3, H, W], float32 in [0, 1], on the CPU."""
    dealt = processes.deal(len(latents), micro_batch)
    return torch.cat([policy.decode(latents[rows])[:kept].cpu() for rows, kept in dealt])


@torch.no_grad()
def reference_kl(
    policy: Policy, sampler: Sampler, drawn: Trajectories, conditioning: Conditioning, micro_batch: int
) -> float:
    """Exact KL(policy || pretrained model) of a trajectory, summed over steps, mean units.

    Estimated on the first `REFERENCE_SAMPLES` trajectories, which the policy itself drew.

    Args:
        micro_batch: trajectories in one pass.
    """
    measured = min(REFERENCE_SAMPLES, len(conditioning))
    total = torch.zeros((), device=policy.device, dtype=torch.float64)
    with policy.copy("pretrained"):
        for part, kept in processes.deal(measured, micro_batch):
            text, latents = conditioning[part], drawn.latents[part]
            samples = torch.arange(part.start, part.stop, device=latents.device)
            for k in range(len(sampler.timesteps)):
                x_t, x_prev, step = latents[:, k], latents[:, k + 1], torch.full_like(samples, k)
                law = law_of(policy, sampler, x_t, step, text)
                total += law.kl(mean_that_drew(x_prev, law, drawn, samples, step, sampler))[:kept].sum()
    return processes.total(total).item() / measured
