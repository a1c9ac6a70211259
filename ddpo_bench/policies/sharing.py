"""Several policies of one model in memory, of which each has only what it trained to itself."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ddpo_bench.policies.diffusers_policy import DiffusersPolicy
from ddpo_bench.protocols import Policy


def share_frozen(policy: Policy, other: Policy) -> None:
    """Let a policy use the frozen weights of another one of the same model, and drop its own of them.

    Text encoders and the VAE are shared, and of LoRA the network; a network that is trained whole is not.  Policies
    that are not pipelines of diffusers share nothing.

    Args:
        policy, other: started, of equal options except for the adapter and what is decided at each pass.
    """
    if not (isinstance(policy, DiffusersPolicy) and isinstance(other, DiffusersPolicy)):
        return
    for part in policy.present.networks:
        if part != policy.layout.trained:
            setattr(policy.pipeline, part, getattr(other.pipeline, part))
    policy.offloading = other.offloading
    theirs = dict(frozen_weights(other))
    for name, weight in frozen_weights(policy):
        if name in theirs and theirs[name].dtype is weight.dtype:
            weight.data = theirs[name].data


def frozen_weights(policy: DiffusersPolicy) -> Iterator[tuple[str, Tensor]]:
    """Of the trained network, by the names that they have without LoRA around them."""
    for name, weight in policy.network.named_parameters():
        if not weight.requires_grad:
            yield name.replace(".base_layer.", "."), weight


def weights_of(policy: Policy) -> Iterator[Tensor]:
    """All that a policy holds of its model, on whatever device; tensors that policies share come from each of them."""
    if not isinstance(policy, DiffusersPolicy):
        yield from policy.parameters()
        return
    for part in policy.present.networks:
        network = policy.network if part == policy.layout.trained else getattr(policy.pipeline, part)
        yield from network.parameters()
        yield from network.buffers()
