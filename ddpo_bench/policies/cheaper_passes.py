"""Cheaper passes of a diffusers network that give the same results: compiled blocks, and gradient checkpointing."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

CONVOLUTIONAL_BLOCKS = ("ResnetBlock2D",)  # repeated in UNets, of which diffusers names the transformer blocks alone
SHAPES = 1024  # kinds and sizes of blocks that are compiled before torch falls back to running them uncompiled


def compile_repeated(network: Any) -> None:
    """Compile the blocks that a network repeats, each for every size of batch that it meets.

    Sizes are constants of the compiled code.  Code for any size would be compiled the second time that a size changes,
    and from then on run for batches whose trajectories the first code had drawn, with other rounding.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.accumulated_recompile_limit = max(SHAPES, torch._dynamo.config.accumulated_recompile_limit)
    repeated = {*(getattr(network, "_repeated_blocks", None) or ()), *CONVOLUTIONAL_BLOCKS}
    for module in network.modules():
        if type(module).__name__ in repeated:
            module.compile(
                dynamic=False, options={"deterministic": True}
            )  # no choices by timing: a resume repeats them


def checkpoint_gradients(network: Any) -> None:
    """Keep the inputs of each block for the backward pass, which computes the rest again.

    There is no dropout, so that no random state has to be kept.
    """

    def run(module: torch.nn.Module, *inputs: Any) -> Any:
        return checkpoint(module.__call__, *inputs, use_reentrant=False, preserve_rng_state=False)

    network.enable_gradient_checkpointing(run)
