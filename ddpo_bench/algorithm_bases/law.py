"""The policy as reinforcement learning sees it: pi_theta(x_{t-1} | x_t, t, c), one Gaussian a denoising step."""

from __future__ import annotations

from torch import Tensor

from ddpo_bench.protocols import Conditioning, Law, Policy, Sampler


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
