"""The models in memory: what they share once, and those used last, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from ddpo_bench.parsing import ConfigError
from ddpo_bench.policies.sharing import share_frozen, weights_of
from ddpo_bench.protocols import Policy
from ddpo_bench.serve.models import ServedModel
from ddpo_bench.training.generate import load_trained, sampled_with
from ddpo_bench.training.trainer import start_policy

FP32 = 4  # bytes


class LoadedModels:
    """Started policies by the ids of their models; one thread alone loads and uses them.

    Args:
        limit: bytes that their weights may take; while one is loaded, its own copy of what it will share is added.
    """

    def __init__(self, device: torch.device, limit: int):
        self.device, self.limit = device, limit
        self.kept: OrderedDict[str, tuple[ServedModel, str, Policy]] = OrderedDict()  # with the checkpoint's name
        self.held = 0  # bytes

    def __contains__(self, model: ServedModel) -> bool:
        kept = self.kept.get(model.id)
        return kept is not None and kept[1] == model.version

    def get(self, models: Sequence[ServedModel]) -> list[Policy]:
        """The policies of these models, loaded where they are not; others give way to them, those used first at first.

        Raises:
            ConfigError: where they do not fit together.
        """
        wanted = {model.id for model in models}
        for model in models:
            if model not in self:
                self.kept.pop(model.id, None)
                self.make_room(self.limit - own_bytes(model, self.device), wanted)
                self.load(model)
            self.kept.move_to_end(model.id)
        self.make_room(self.limit, wanted)
        if self.held > self.limit:
            raise ConfigError([does_not_fit(self.held, self.limit)])
        return [self.kept[model.id][2] for model in models]

    def load(self, model: ServedModel) -> None:
        version = model.version
        policy, _ = start_policy(sampled_with(model.config), self.device)
        if model.run is not None:
            load_trained(policy, model.run)
        policy.copies.values.clear()  # of the pretrained weights, which only training needs
        for other, _, loaded in self.kept.values():
            if other.family == model.family:
                share_frozen(policy, loaded)
        self.kept[model.id] = model, version, policy
        self.held = self.count()

    def make_room(self, limit: int, wanted: set[str]) -> None:
        """Drop models that were used longest ago, except for those that are wanted, until the rest fits."""
        self.held = self.count()
        for id in [id for id in self.kept if id not in wanted]:
            if self.held <= limit:
                return
            del self.kept[id]
            self.held = self.count()

    def count(self) -> int:
        """Bytes of all weights, shared ones once."""
        storages = {
            weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes()
            for _, _, policy in self.kept.values()
            for weight in weights_of(policy)
        }
        return sum(storages.values())


def refuse_too_large(models: Sequence[ServedModel], device: torch.device, limit: int) -> None:
    """Refuse models of which already what each has to itself does not fit into memory together.

    Raises:
        ConfigError: saying how much that is.
    """
    needed = sum(own_bytes(model, device) for model in models)
    if needed > limit:
        raise ConfigError([does_not_fit(needed, limit)])


def own_bytes(model: ServedModel, device: torch.device) -> int:
    """Of what a model does not share with its family; 0 where that is not known."""
    size = model.config.policy.build().footprint(device)
    return size.trained * FP32 if size and model.kind != "pretrained" else 0


def does_not_fit(needed: int, limit: int) -> str:
    return (
        f"models: together they take {needed / 1e9:.2f} GB of the {limit / 1e9:.2f} GB that loaded models may take. "
        "Choose fewer, or start ddpo-bench serve with a larger --memory."
    )
