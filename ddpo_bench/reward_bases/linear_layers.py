"""A head of linear layers with nothing but dropout between them, which ends in one number."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

LAYER = re.compile(r"(?:.*\.)?(\d+)\.(weight|bias)")  # "layers.0.weight", whatever comes before the number
Layers = list[tuple[Tensor, Tensor]]


def layers_of(tensors: Mapping[str, Tensor]) -> Layers:
    """Weight [out, in] and bias [out] of each linear layer, float64, in the order of their numbers.

    Raises:
        ValueError: where there are none, or they do not lead to one number.
    """
    named = {(int(match[1]), match[2]): tensors[match[0]] for match in map(LAYER.fullmatch, tensors) if match}
    numbers = sorted({number for number, _ in named})
    layers = [(named[number, "weight"].double(), named[number, "bias"].double()) for number in numbers]
    outputs = [weight.shape[0] for weight, _ in layers]
    inputs = [weight.shape[1] for weight, _ in layers]
    if not layers or outputs[-1] != 1 or outputs[:-1] != inputs[1:]:
        raise ValueError("it must hold linear layers layers.0.weight, layers.0.bias, ... down to 1 number")
    return layers


def applied(layers: Layers, features: Tensor) -> Tensor:
    """The number [N] that the layers make of features [N, D], float64."""
    for weight, bias in layers:
        features = features @ weight.T + bias
    return features[:, 0]
