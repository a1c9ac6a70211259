"""What of a network is trained: every weight, or low-rank updates (LoRA, Hu et al. 2022) of some of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ddpo_bench import registry
from ddpo_bench.options import option
from ddpo_bench.policies.stored_lora import NotLora, lora_file

ATTENTION_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
Shapes = Iterable[tuple[str, tuple[int, ...]]]  # of a network's weights, by name


@dataclass(frozen=True)
class Adapter:
    """What of the network is trained; a family has a subclass where public recipes use other defaults."""

    name: Literal["full", "lora"] = option("full", "what is trained: every weight, or LoRA of `target_modules`")
    rank: int = option(4, "rank of the LoRA matrices", minimum=1, maximum=4096)
    alpha: int | None = option(
        None, "LoRA updates are multiplied by alpha / rank; null is the rank", minimum=1, maximum=65536
    )
    target_modules: tuple[str, ...] = option(
        ATTENTION_PROJECTIONS, "layers that LoRA updates, each by its name or by the end of its name after a dot"
    )
    from_: str | None = option(
        None, "a LoRA to start from: a file, a folder of diffusers or peft, or an exported run; null is a new one"
    )

    def updates(self, layer: str) -> bool:
        """Whether LoRA updates a layer, by its name."""
        return any(layer == target or layer.endswith(f".{target}") for target in self.target_modules)

    def numbers(self, weights: Shapes) -> int:
        """Numbers in the LoRA matrices of a network."""
        layers = [(name.removesuffix(".weight"), shape) for name, shape in weights if name.endswith(".weight")]
        return self.rank * sum(shape[0] + math.prod(shape[1:]) for name, shape in layers if self.updates(name))

    def mistakes(self, weights: Shapes) -> list[str]:
        """Targets that the network does not have, each with the nearest ones that exist."""
        if self.name != "lora":
            return ["policy.adapter.from: starts a LoRA. Write name: lora."] if self.from_ else []
        if self.from_:
            try:
                lora_file(self.from_)
            except NotLora as error:
                return [f"policy.adapter.from: {self.from_} {error}"]
        layers = [name.removesuffix(".weight") for name, shape in weights if len(shape) in (2, 4)]
        if not self.target_modules:
            return ["policy.adapter.target_modules: is empty. Leave it out for the family's own layers."]
        ends = {layer.split(".", depth)[-1] for layer in layers for depth in range(1, layer.count(".") + 1)}
        known = {end for end in ends if not end[0].isdigit() and not end[-1].isdigit()} | {"to_out.0"} & ends
        return [
            f"policy.adapter.target_modules: {registry.unknown('layer', target, known)}"
            for target in self.target_modules
            if not any(layer == target or layer.endswith(f".{target}") for layer in layers)
        ]


def add_lora(network: Any, adapter: Adapter, seed: int) -> None:
    """Add LoRA matrices to a network, in float32, as if they were not there: B is 0.

    Args:
        seed: of the matrices A.
    """
    from diffusers.training_utils import cast_training_params
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = lora_config(adapter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.add_adapter(config)
    cast_training_params(network, torch.float32)
    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False  # to fp32, from which autocast would round it back


def lora_config(adapter: Adapter) -> Any:
    """The adapter as peft knows it."""
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha or adapter.rank,
        init_lora_weights="gaussian",
        target_modules=list(adapter.target_modules),
    )
