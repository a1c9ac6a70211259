"""Counted operations against counts by hand."""

from __future__ import annotations

import torch
from torch import nn

from ddpo_bench.architectures.flops import count, network_flops


def test_a_convolution_counts_a_product_and_a_sum_for_each_weight_and_place() -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1, device="meta")
    x = torch.empty(2, 3, 8, 8, device="meta")
    forward = 2 * (2 * 8 * 8) * 5 * (3 * 3 * 3)
    found = count(lambda: conv(x), list(conv.parameters()))
    assert (found.forward, found.backward) == (forward, forward)  # the gradient of the weights alone
    x.requires_grad_()
    assert count(lambda: conv(x), [x, *conv.parameters()]).backward == 2 * forward


def test_attention_counts_its_two_products_on_every_device_without_what_is_recomputed() -> None:
    for device in ("meta", "cpu"):
        q, k, v = (torch.ones(2, 4, tokens, 8, device=device, requires_grad=True) for tokens in (6, 10, 10))
        found = count(lambda: nn.functional.scaled_dot_product_attention(q, k, v), [q, k, v])  # noqa: B023
        products = 2 * (2 * 4) * 6 * 10 * 8
        assert (found.forward, found.backward) == (2 * products, 4 * products)


def test_frozen_weights_cost_no_gradient() -> None:
    first, last = nn.Linear(4, 6, device="meta"), nn.Linear(6, 3, device="meta")
    x = torch.empty(5, 4, device="meta")
    assert count(lambda: last(first(x)), list(last.parameters())).backward == 2 * 5 * 6 * 3
    assert count(lambda: last(first(x)), []).backward == 0


def test_a_pass_of_stable_diffusion_takes_the_operations_that_are_known_of_it() -> None:
    """803 GFLOP: twice the 402 billion multiply-adds that profilers show for the UNet at 64 x 64 with 77 tokens."""
    found = network_flops("sd15")
    assert found.forward == 803_273_441_280
    assert 1.99 < found.backward / found.forward < 2.01
