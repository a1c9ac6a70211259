"""The policy as reinforcement learning sees it: pi_theta(x_{t-1} | x_t, t, c), one Gaussian a denoising step."""

from __future__ import annotations

from ddpo_kernels import per_sample
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
    output = policy.predict(x_t, sampler.timesteps[steps], conditioning)
    return sampler.law(output, x_t, steps, policy.guidance_scale)


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
    noise = trajectories.noise.at(samples, steps + 1, x_prev.shape[1:], sampler.backend)
    return x_prev - per_sample(law.std, noise) * noise
