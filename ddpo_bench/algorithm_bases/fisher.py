"""Exact products with the Fisher information matrix of a denoising policy, without forming it.

For a Gaussian N(mean, std^2 I) with fixed std the Fisher information is J^T J / std^2 with J = d mean / d theta
(Amari 1998; Schulman et al. 2015, appendix C).  J v is a forward pass with tangents, J^T w a backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from ddpo_kernels import per_sample
from torch import Tensor
from torch.autograd import forward_ad

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.dealing import dealt
from ddpo_bench.algorithm_bases.transitions import law_at
from ddpo_bench.measuring import LEARNING
from ddpo_bench.protocols import Law, Policy, Rollout


@dataclass
class Fisher:
    """F of a trajectory: the sum over its steps of the mean of J^T J / std^2, per latent dimension.

    v^T F v / 2 is, to second order in v, the KL of a trajectory between theta and theta + v, in mean units.

    Attributes:
        pairs: [M, 2], sample and step of the rollout's transitions over which the mean is taken.
    """

    policy: Policy
    rollout: Rollout
    pairs: Tensor

    def product(self, vector: Tensor) -> Tensor:
        """F v, [P], over all processes, for v [P] in the order of the policy's parameters.

        The policy must have no gradients, and has none afterwards.
        """
        count, passes = len(self.pairs), self.rollout.network_passes
        for chunk, kept in dealt(self.pairs, self.rollout.micro_batch, passes):
            samples, steps = chunk.unbind(1)
            tangent = self.tangent(vector, samples, steps)
            law = self.law(samples, steps)
            scale = self.rollout.steps / (count * tangent[0].numel()) * bool(kept)
            cotangent = scale * tangent / per_sample(law.std, tangent).square()
            (law.mean * cotangent).sum().backward()
            passes.work += (1 + LEARNING) * len(chunk)
        return collected_gradient(self.policy)

    @torch.no_grad()
    def tangent(self, vector: Tensor, samples: Tensor, steps: Tensor) -> Tensor:
        """J v of some transitions, [B, C, H, W]: the derivative of their means along v."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        fused_attention_has_none = sdpa_kernel(SDPBackend.MATH)
        with forward_ad.dual_level(), fused_attention_has_none, moving(self.policy, vector):
            return forward_ad.unpack_dual(self.law(samples, steps).mean).tangent.clone()

    def law(self, samples: Tensor, steps: Tensor) -> Law:
        x_t = self.rollout.states(samples, steps)
        samples, steps = (index.to(self.policy.device) for index in (samples, steps))
        return law_at(self.policy, self.rollout, x_t, samples, steps)


@contextmanager
def moving(policy: Policy, direction: Tensor) -> Iterator[None]:
    """Within this context and a dual level, the parameters move along a direction [P]; their values stay."""
    parameters = policy.parameters()
    for parameter, along in zip(parameters, split_like(direction, parameters), strict=True):
        parameter.copy_(forward_ad.make_dual(parameter.detach().clone(), along.contiguous()))
    yield


def collected_gradient(policy: Policy) -> Tensor:
    """The gradients of the policy's parameters as one vector [P], summed over processes; they are cleared."""
    parameters = policy.parameters()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    processes.sum_in_place(gradients)
    for parameter in parameters:
        parameter.grad = None
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def split_like(vector: Tensor, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """The pieces of a vector [P] in the shapes of parameters."""
    pieces = vector.split([parameter.numel() for parameter in parameters])
    return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]
