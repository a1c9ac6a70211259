"""Copies of trained tensors: what blending gives, and that the weights come back as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ddpo_bench.copies import Copies


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_a_blend_is_the_weighted_mean_of_the_copy_and_the_weights(layer: nn.Linear) -> None:
    copies = Copies(layer.parameters())
    copies.keep("ema")
    first = [weight.detach().clone() for weight in layer.parameters()]
    with torch.no_grad():
        for weight in layer.parameters():
            weight += 1
    copies.blend("ema", 0.75)
    expected = [0.75 * old + 0.25 * new.detach() for old, new in zip(first, layer.parameters(), strict=True)]
    torch.testing.assert_close(copies.values["ema"], expected)
    copies.blend("ema", 1.0)
    torch.testing.assert_close(copies.values["ema"], expected)
    copies.blend("ema", 0.0)
    torch.testing.assert_close(copies.values["ema"], [weight.detach() for weight in layer.parameters()])


def test_a_backward_pass_does_not_notice_a_copy_that_was_used_since_the_forward_pass(layer: nn.Linear) -> None:
    copies, x = Copies(layer.parameters()), torch.randn(4, 3, requires_grad=True)
    copies.keep("old")
    with torch.no_grad():
        layer.weight += 1
    expected = torch.autograd.grad(layer(x).square().sum(), [layer.weight, x])
    output, address = layer(x), layer.weight.data_ptr()
    with copies.in_place("old"):
        lagged = layer(x)
    assert not lagged.requires_grad
    assert not torch.equal(lagged, output)
    assert layer.weight.data_ptr() == address
    found = torch.autograd.grad(output.square().sum(), [layer.weight, x])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_weights_come_back_after_an_error(layer: nn.Linear) -> None:
    copies = Copies(layer.parameters())
    copies.keep("old")
    with torch.no_grad():
        layer.weight += 1
    moved = layer.weight.detach().clone()
    with pytest.raises(KeyError), copies.in_place("old"):
        raise KeyError
    assert torch.equal(layer.weight, moved)
