"""What a pass is counted to cost is what it costs in the loaded model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpo_bench.architectures.flops import count
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.pass_cost import saved_bytes
from ddpo_bench.policies.stable_diffusion import StableDiffusion

CPU = torch.device("cpu")


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_counted_passes_are_those_of_the_loaded_model(tiny_model: Path, adapter: str, guidance: float) -> None:
    policy = StableDiffusion(str(tiny_model), adapter=Adapter(adapter), guidance_scale=guidance, precision="fp32")
    counted = policy.pass_cost(CPU, checkpointing=False)
    policy.start(CPU, 0)
    text, x_t = policy.encode(["a dog"]), torch.randn(1, *policy.latent_shape)

    def forward() -> Tensor:
        return policy.predict(x_t, torch.zeros(1, dtype=torch.long), text)

    measured = count(forward, list(policy.parameters()))
    share = 1e-6 if adapter == "full" else 0.1  # LoRA's small products are left out
    assert counted
    assert counted.forward == pytest.approx(measured.forward, rel=share)
    assert counted.backward == pytest.approx(measured.backward, rel=0.1)  # a CPU's attention computes some again
    assert counted.decoding == count(lambda: policy.decode(x_t), []).forward
    assert counted.activations == pytest.approx(saved_bytes(forward, policy.network), rel=0.2)


def test_checkpointing_keeps_less(tiny_model: Path) -> None:
    policy = StableDiffusion(str(tiny_model))
    kept, recomputed = (policy.pass_cost(CPU, checkpointing) for checkpointing in (False, True))
    assert kept
    assert recomputed
    assert recomputed.activations < kept.activations / 2
    assert (recomputed.forward, recomputed.backward) == (kept.forward, kept.backward)
