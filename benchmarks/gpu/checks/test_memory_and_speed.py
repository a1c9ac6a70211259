"""What makes large models fit and run fast, and leaves every ratio exactly 1."""

from __future__ import annotations

import pytest
import torch
from ddpo_kernels.backend import INTERPRETING
from steps import BATCH, Steps, make_steps

from ddpo_bench.policies.diffusers_policy import DiffusersPolicy


def assert_bits_are_the_same(steps: Steps) -> None:
    """In sampling and learning, and a gradient follows."""
    rows = torch.arange(BATCH, device=steps.latents.device)
    at = rows % steps.count
    log_prob = steps.log_prob(rows, at)
    assert torch.equal(log_prob.detach(), steps.log_probs[rows, at])
    log_prob.sum().backward()
    assert all(weight.grad is not None for weight in steps.policy.parameters())


def test_text_encoder_and_vae_are_on_a_gpu_only_while_they_are_used(device: torch.device) -> None:
    steps = make_steps(device, "fp32")
    policy = steps.policy
    assert isinstance(policy, DiffusersPolicy)

    def places() -> list[str]:
        parts = (policy.pipeline.text_encoder, policy.pipeline.vae)
        return [next(part.parameters()).device.type for part in parts]

    assert places() == ["cpu", "cpu"]
    policy.encode(["a prompt that is new"])
    assert places() == [device.type, "cpu"]
    with torch.no_grad():
        policy.decode(steps.latents[:, -1])
    assert places() == ["cpu", device.type]
    latents = steps.latents[:, -1].clone().requires_grad_()
    images = policy.decode(latents)
    steps.log_prob(torch.zeros(1, dtype=torch.long, device=device), torch.zeros(1, dtype=torch.long, device=device))
    images.sum().backward()
    assert latents.grad is not None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ratios_are_exactly_1_under_checkpointing(device: torch.device, precision: str) -> None:
    if precision == "bf16" and device.type == "cpu":
        pytest.skip("bf16 is measured on GPUs alone")
    assert_bits_are_the_same(make_steps(device, precision, gradient_checkpointing=True))


def test_ratios_are_exactly_1_in_compiled_code(device: torch.device) -> None:
    if device.type == "cpu" or INTERPRETING:
        pytest.skip("blocks are compiled on GPUs alone")
    assert_bits_are_the_same(make_steps(device, "bf16", compile="regional"))
