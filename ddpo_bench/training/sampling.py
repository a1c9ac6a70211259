"""Trajectories drawn from a policy, their images, and their distance to the pretrained policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import law_of, mean_that_drew
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
) -> Iterator[Trajectories]:
    """Draw one trajectory a prompt, a micro-batch at a time.

    Args:
        noise: of the samples, in the order of their prompts; x_T is that of step 0, and step k draws that of k + 1.
        on_batch: called with the number of finished trajectories.
    """
    count = len(conditioning)
    for start in range(0, count, micro_batch):
        batch = conditioning[start : start + micro_batch]
        yield sample_batch(policy, sampler, batch, noise.after(start))
        on_batch(start + len(batch))


def sample_batch(policy: Policy, sampler: Sampler, conditioning: Conditioning, noise: Noise) -> Trajectories:
    """Trajectories of one micro-batch; all of it is on the policy's device, and no step waits for the host."""
    draws = noise.draw_steps(
        1 + len(sampler.timesteps), len(conditioning), policy.latent_shape, policy.device, sampler.backend
    )
    x_t = next(draws)
    latents, log_probs = [x_t], []
    for k, z in enumerate(draws):
        step = torch.full((len(x_t),), k, device=policy.device)
        x_t, log_prob = law_of(policy, sampler, x_t, step, conditioning).draw(z)
        latents.append(x_t)
        log_probs.append(log_prob)
    return Trajectories(torch.stack(latents, 1), torch.stack(log_probs, 1), noise)


def joined(batches: Iterator[Trajectories], count: int, on_host: bool = False) -> Trajectories:
    """Micro-batches as one, each moved to its place as soon as it is sampled.

    Args:
        count: trajectories in all.
        on_host: keep latents in host memory rather than on the device.
    """
    first = next(batches)
    kept = Trajectories(
        empty_like_first(first.latents, count, on_host), first.log_probs.new_empty(count, first.log_probs.shape[1]),
        first.noise,
    )  # fmt: skip
    done = 0
    for batch in chain([first], batches):
        rows = slice(done, done + len(batch.log_probs))
        kept.latents[rows].copy_(batch.latents, non_blocking=True)
        kept.log_probs[rows] = batch.log_probs
        done = rows.stop
    if on_host and first.latents.device.type == "cuda":
        torch.cuda.current_stream().synchronize()  # the host reads what has arrived
    return kept


def final_latents(batches: Iterable[Trajectories]) -> Tensor:
    """[N, C, H, W]: x_0 of each trajectory, of which nothing else is kept."""
    return torch.cat([batch.latents[:, -1].clone() for batch in batches])


@torch.no_grad()
def decode_in_batches(policy: Policy, latents: Tensor, micro_batch: int) -> Tensor:
    """Images [N, 3, H, W], float32 in [0, 1], on the CPU."""
    return torch.cat([policy.decode(part).cpu() for part in latents.split(micro_batch)])


@torch.no_grad()
def reference_kl(
    policy: Policy, sampler: Sampler, drawn: Trajectories, conditioning: Conditioning, micro_batch: int
) -> float:
    """Exact KL(policy || pretrained model) of a trajectory, summed over steps, mean units.

    Estimated on the first `REFERENCE_SAMPLES` trajectories, which the policy itself drew.

    Args:
        micro_batch: trajectories in one pass.
    """
    measured = range(min(REFERENCE_SAMPLES, len(conditioning)))
    total = torch.zeros((), device=policy.device, dtype=torch.float64)
    with policy.copy("pretrained"):
        for start in measured[::micro_batch]:
            part = slice(start, min(start + micro_batch, len(measured)))
            text, latents = conditioning[part], drawn.latents[part]
            samples = torch.arange(start, part.stop, device=latents.device)
            for k in range(len(sampler.timesteps)):
                x_t, x_prev, step = latents[:, k], latents[:, k + 1], torch.full_like(samples, k)
                law = law_of(policy, sampler, x_t, step, text)
                total += law.kl(mean_that_drew(x_prev, law, drawn, samples, step, sampler)).sum()
    return total.item() / len(measured)
