"""Attention of narrow heads: torch's own forward pass, and gradients next to float64 ones."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.functional import scaled_dot_product_attention

from ddpo_bench.policies import narrow_attention
from ddpo_bench.policies.narrow_attention import NarrowAttention, NarrowAttnProcessor, fits
from ddpo_bench.policies.precision import choose_attention

CPU = torch.device("cpu")


def heads_last(batch: int, length: int, heads: int, width: int) -> torch.Tensor:
    """[B, H, L, D] as diffusers makes it, a view of [B, L, H, D]."""
    return torch.randn(batch, length, heads, width).transpose(1, 2)


@pytest.mark.parametrize(("queries", "keys", "width"), [(64, 64, 4), (33, 77, 8), (5, 1, 1)])
def test_gradients_are_those_of_float64_attention(
    queries: int, keys: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow_attention, "SCORES_AT_ONCE", 4 * queries * keys)  # 6 heads in two parts, 4 and 2
    torch.manual_seed(0)
    inputs = [heads_last(2, length, 3, width) for length in (queries, keys, keys)]
    grad = heads_last(2, queries, 3, width)
    single = [x.clone().requires_grad_() for x in inputs]
    output = NarrowAttention.apply(*single)
    assert torch.equal(output, scaled_dot_product_attention(*inputs))
    q, k, v = (x.double().requires_grad_() for x in inputs)
    exact = torch.softmax(q @ k.transpose(2, 3) / width**0.5, -1) @ v
    wanted = torch.autograd.grad(exact, (q, k, v), grad.double())
    for found, right in zip(torch.autograd.grad(output, single, grad), wanted, strict=True):
        assert found.shape == right.shape
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=2e-6)


def test_only_plain_attention_of_narrow_heads_fits() -> None:
    x = torch.zeros(1, 1, 2, 8)
    assert fits(x, x, x, attn_mask=None, dropout_p=0.0, is_causal=False)
    assert not fits(x, x, x, is_causal=True)
    assert not fits(x, x, x, scale=1.0)
    assert not fits(x, x, x, attn_mask=torch.zeros(2, 2))
    assert not fits(x.bfloat16(), x.bfloat16(), x.bfloat16())
    wide = torch.zeros(1, 1, 2, 9)
    assert not fits(wide, wide, wide)


def unet(heads: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=heads,
    )  # fmt: skip  # attention_head_dim is, in diffusers, the number of heads


def test_a_network_of_narrow_heads_keeps_its_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    network, x_t, text = unet(heads=8), torch.randn(2, 4, 8, 8), torch.randn(2, 5, 16)
    outputs, gradients = [], []
    for chosen in (AttnProcessor2_0, NarrowAttnProcessor):
        output = network(x_t, 500, encoder_hidden_states=text).sample
        assert {type(processor) for processor in network.attn_processors.values()} == {chosen}
        outputs.append(output)
        gradients.append(
            torch.cat([grad.flatten() for grad in torch.autograd.grad(output.sum(), network.parameters())])
        )
        choose_attention(network, CPU, torch.float32)
    assert torch.equal(*outputs)
    assert not torch.equal(*gradients)  # the other backward pass did run
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()
    with torch.no_grad():
        assert torch.equal(network(x_t, 500, encoder_hidden_states=text).sample, outputs[0])


def test_wide_heads_keep_torchs_attention() -> None:
    network = unet(heads=2)
    choose_attention(network, CPU, torch.float32)
    assert {type(processor) for processor in network.attn_processors.values()} == {AttnProcessor2_0}
