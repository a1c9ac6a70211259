"""Frozen networks that lie in host memory and are on the GPU only while they are used."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn


class Offloaded:
    """A frozen network whose weights are copied to a device for use and dropped from it afterwards.

    Nothing is copied back, because frozen weights do not change: the host keeps them.

    Args:
        module: on the host, and frozen.
    """

    def __init__(self, module: nn.Module, device: torch.device):
        self.device = device
        self.host = [(tensor, tensor.data) for tensor in chain(module.parameters(), module.buffers())]
        self.is_loaded = self.is_kept = False

    def load(self) -> None:
        if not self.is_loaded:
            for tensor, host in self.host:
                tensor.data = copy_of(host, self.device)
        self.is_loaded = True

    def unload(self) -> None:
        """Drop the device's copy, unless a backward pass may still need it."""
        if self.is_loaded and not self.is_kept:
            for tensor, host in self.host:
                tensor.data = host
            self.is_loaded = False


def copy_of(host: Tensor, device: torch.device) -> Tensor:
    return host.to(device, non_blocking=True)  # nobody writes to the host's


class Offloading:
    """The frozen networks of a pipeline, of which those in use are on the device.

    On a CPU nothing is ever moved.  On a GPU a move takes milliseconds of an epoch, and frees what a text encoder and a
    VAE take next to the activations of learning.

    Args:
        modules: by the names of the pipeline's parts.
    """

    def __init__(self, modules: dict[str, nn.Module], device: torch.device):
        self.parts = {} if device.type == "cpu" else {name: Offloaded(each, device) for name, each in modules.items()}

    def bring(self, *names: str, for_backward: bool = False) -> None:
        """Put these networks on the device, and take the others from it.

        Args:
            for_backward: whether a gradient will flow through them, at a time not known here: they stay from now on.
        """
        for name, part in self.parts.items():
            if name in names:
                part.is_kept |= for_backward
                part.load()
            else:
                part.unload()
