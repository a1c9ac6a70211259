"""The policy as reinforcement learning sees it: pi_theta(x_{t-1} | x_t, t, c), one Gaussian a denoising step."""

from __future__ import annotations

import torch
from ddpo_kernels import guided, per_sample
from torch import Tensor

from ddpo_bench.protocols import Conditioning, Law, Policy, Sampler, Trajectories


def law_of(policy: Policy, sampler: Sampler, x_t: Tensor, steps: Tensor, conditioning: Conditioning) -> Law:
    """The law of x_{t-1}, differentiable in the policy's parameters.

    Sampling, learning and measuring all come here, so that a stored x_{t-1} has the same log-prob in each.

    Args:
        x_t: [B, C, H, W], float32.
        steps: [B], indices into the sampler's timesteps; samples of one batch may be at different steps.
        conditioning: of the B samples.
    """
    return output_and_law(policy, sampler, x_t, steps, conditioning)[1]


def output_and_law(
    policy: Policy, sampler: Sampler, x_t: Tensor, steps: Tensor, conditioning: Conditioning
) -> tuple[Tensor, Law]:
    """The model output as `predict` gives it, and the law that it makes; arguments as of `law_of`."""
    output = policy.predict(x_t, sampler.timesteps[steps], conditioning)
    return output, sampler.law(output, x_t, steps, policy.guidance_scale)


def output_of(policy: Policy, sampler: Sampler, x_t: Tensor, steps: Tensor, conditioning: Conditioning) -> Tensor:
    """The guided model output, [B, C, H, W] in the dtype of x_t; arguments as of `law_of`."""
    output = policy.predict(x_t, sampler.timesteps[steps], conditioning)
    return guided(output.to(x_t.dtype), len(x_t), policy.guidance_scale)


def x_0_of(sampler: Sampler, x_t: Tensor, output: Tensor, steps: Tensor) -> Tensor:
    """What a model output says of x_0, whatever the model predicts: noise, velocity or x_0 itself.

    x_t = a x_0 + b noise and target = c x_0 + d noise, so that x_0 = (d x_t - b target) / (a d - b c).

    Args:
        x_t, output: [B, C, H, W], guidance already applied.
        steps: [B], indices into the sampler's timesteps.
    """
    (a, c), (b, d) = forward_process(sampler, x_t, steps)
    return (d * x_t - b * output) / (a * d - b * c)


def forward_process(sampler: Sampler, like: Tensor, steps: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """What x_0 and the noise are multiplied with, each in x_t and in the target: ((a, c), (b, d)), [B, 1, 1, 1] each.

    Args:
        like: any tensor of the device and dtype.
        steps: [B].
    """
    one = torch.ones(len(steps), 1, 1, 1, device=like.device, dtype=like.dtype)
    return sampler.noised(one, 0 * one, steps), sampler.noised(0 * one, one, steps)


def mean_that_drew(
    x_prev: Tensor, law: Law, trajectories: Trajectories, samples: Tensor, steps: Tensor, sampler: Sampler
) -> Tensor:
    """The mean of the law that drew stored latents, whatever the policy is by now: x_prev without its noise.

    Exact except for the rounding of x_prev: about 1e-7 a dimension in float32, by which a KL is off by about
    1e-14 / std^2 in mean units.

    Args:
        x_prev: [B, C, H, W], `trajectories.latents[samples, steps + 1]`.
        law: any of these steps, for its std.
        samples, steps: [B], on the device of x_prev.
    """
    noise = trajectories.noise.at(samples, trajectories.first_step + steps + 1, x_prev.shape[1:], sampler.backend)
    return x_prev - per_sample(law.std, noise) * noise
