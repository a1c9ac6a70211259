"""What a pass of a public network keeps for its backward pass, with and without gradient checkpointing.

    python benchmarks/activations.py sd15 sdxl

Counted on tensors that allocate nothing, so that it takes no GPU: bytes of all tensors that autograd saves in one pass
of one image with guidance, each storage once and without the weights, where all weights are trained in bf16.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ddpo_bench.architectures.build import default_dtype, make
from ddpo_bench.architectures.passes import output, random_conditioning
from ddpo_bench.architectures.published import architecture
from ddpo_bench.policies.cheaper_passes import checkpoint_gradients

GUIDED = 2  # passes a sample: unconditional and conditional


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the activations that a backward pass needs.")
    parser.add_argument("architectures", nargs="+", help="sd15, sd21, sdxl, sd35m or flux-dev")
    for name in parser.parse_args().architectures:
        kept, checkpointed = (saved_bytes(name, checkpointing) / 2**30 for checkpointing in (False, True))
        print(f"{name}: {kept:.2f} GiB, with checkpointing {checkpointed:.2f} GiB, {checkpointed / kept:.2f} of it")


def saved_bytes(name: str, checkpointing: bool) -> int:
    model, saved = architecture(name), {}
    config = model.parts[model.network]
    with FakeTensorMode():
        with default_dtype(torch.bfloat16):
            network = make(config["_class_name"], config).train()
        if checkpointing:
            checkpoint_gradients(network)
        weights = {weight.untyped_storage()._cdata for weight in network.state_dict().values()}
        x_t = torch.zeros(GUIDED, *model.latent_shape, dtype=torch.bfloat16)
        given = {key: tensor.bfloat16() for key, tensor in random_conditioning(model, GUIDED, "cpu").items()}
        keep_alive = []

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                keep_alive.append(storage)
                saved[storage._cdata] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            made = output(model, network, x_t, torch.zeros(GUIDED), given)
        del made
    return sum(saved.values())


if __name__ == "__main__":
    main()
