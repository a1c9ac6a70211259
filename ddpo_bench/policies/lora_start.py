"""Starting a policy's LoRA from one that exists: whether the two agree, and its matrices in their place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Any

import torch

from ddpo_bench.policies.adapters import Adapter, Shapes
from ddpo_bench.policies.stored_lora import StoredLora, looks_like

BLOCK = re.compile(r".*(?:blocks|attentions|resnets|samplers)\.\d+\.")  # before a layer's name within its block
NAMED = 12  # targets in a message


def start_mistakes(lora: StoredLora, adapter: Adapter, weights: Shapes) -> Iterator[str]:
    """Where a LoRA and the options of a policy disagree, each line with what to write.

    Args:
        weights: of the network.
    """
    known = {name.removesuffix(".weight"): shape for name, shape in weights if name.endswith(".weight")}
    for layer, down in lora.down.items():
        if (lora.up[layer].shape[0], *down.shape[1:]) != known.get(layer):
            what = "has other sizes in" if layer in known else "is no layer of"
            wrong_family = looks_like(lora.family)
            yield f"policy.adapter.from: {adapter.from_} is for another model: {layer} {what} this one{wrong_family}"
            return
    if lora.ranks != [adapter.rank]:
        ranks = " and ".join(map(str, lora.ranks))
        remedy = f"Write rank: {ranks}." if len(lora.ranks) == 1 else "A policy's LoRA has one rank."
        yield f"policy.adapter.rank: {adapter.rank}, but {adapter.from_} has rank {ranks}. {remedy}"
    chosen = {layer for layer in known if adapter.updates(layer)}
    if chosen != lora.down.keys():
        only = sorted(chosen ^ lora.down.keys())[0]
        which = "these targets alone choose" if only in chosen else "it alone updates"
        yield f"policy.adapter.target_modules: not those of {adapter.from_}: {which} {only}.{remedy_for(lora, known)}"


def remedy_for(lora: StoredLora, known: Set[str] | Any) -> str:
    """The targets to write, where the layers have ends of names in common that no other layer has."""
    ends = tuple(sorted({BLOCK.sub("", layer) for layer in lora.down}))
    if {layer for layer in known if Adapter(target_modules=ends).updates(layer)} != lora.down.keys():
        return ""
    return f" Write target_modules: [{', '.join(ends)}]." if len(ends) <= NAMED else ""


@torch.no_grad()
def start_from(network: Any, lora: StoredLora, adapter: Adapter) -> None:
    """Give a network's LoRA the matrices of one that agrees with it; B is scaled where its alpha is another."""
    parameters = dict(network.named_parameters())
    scale = lora.alpha / (adapter.alpha or adapter.rank)
    for layer, down in lora.down.items():
        parameters[f"{layer}.lora_A.default.weight"].copy_(down)
        parameters[f"{layer}.lora_B.default.weight"].copy_(scale * lora.up[layer].float())
