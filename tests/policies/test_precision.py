"""Memory layout and TF32 on GPUs, as far as they can be told without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_cheaper_passes import assert_ratios_are_one, started
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ddpo_bench.policies.precision import allow_tf32, choose_layout, tf32_where

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ratio_is_one_with_channels_last(tiny_model: Path, adapter: str, precision: str) -> None:
    policy = started(tiny_model, adapter, 3.0, precision, compiled=False, checkpointed=True)
    policy.network.to(memory_format=torch.channels_last)
    policy.channels_last = True
    assert_ratios_are_one(policy)
    latents = torch.zeros(2, *policy.latent_shape)
    assert policy.predict(latents, torch.tensor([700, 3]), policy.encode(["a dog", "a frog"])).is_contiguous()


def test_channels_are_last_in_bf16_on_gpus_alone() -> None:
    for device, precision in ((CPU, torch.bfloat16), (GPU, torch.float32), (GPU, torch.bfloat16)):
        network = nn.Conv2d(2, 2, 3)
        assert choose_layout(network, device, precision) == (device == GPU and precision is torch.bfloat16)
        assert network.weight.is_contiguous() != choose_layout(network, device, precision)


def test_tf32_is_allowed_within_its_context_alone() -> None:
    def allowed() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = allowed()
    try:
        for everywhere in (False, True):
            allow_tf32(everywhere)
            with tf32_where(False):
                assert allowed() == (everywhere, everywhere)
            with tf32_where(True):
                assert allowed() == (True, True)
            assert allowed() == (everywhere, everywhere)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_adapters_in_bf16_read_activations_as_they_are(tiny_model: Path) -> None:
    """peft would store each in fp32 first, which autocast rounds back to the same bf16."""
    policy = started(tiny_model, "lora", 1.0, "bf16", compiled=False, checkpointed=False)
    conditioning, latents = policy.encode(["a dog"]), torch.zeros(1, *policy.latent_shape)
    casts, outputs = [], []
    for enabled in (False, True):
        for module in policy.network.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                assert enabled or not module.cast_input_dtype_enabled
                module.cast_input_dtype_enabled = enabled
        with torch.no_grad(), CountedCasts() as counted:
            outputs.append(policy.predict(latents, torch.tensor([700]), conditioning))
        casts.append(counted.count)
    assert torch.equal(*outputs)
    assert casts[0] < casts[1]


class CountedCasts(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += function is torch.ops.aten._to_copy.default
        return function(*args, **(kwargs or {}))
