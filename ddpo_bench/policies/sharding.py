"""Weights sharded over the processes of a run (FSDP2), as accelerate's configuration file asks for it.

`accelerate launch --config_file FILE` turns the file into environment variables, which accelerate's plugin reads here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from ddpo_bench import processes
from ddpo_bench.parsing import ConfigError

if TYPE_CHECKING:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import FSDPModule

FSDP = "ACCELERATE_USE_FSDP"
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": (
        "DeepSpeed is not supported. Set distributed_type: FSDP, fsdp_version: 2 and fsdp_reshard_after_forward: "
        "false, which shards what ZeRO-2 shards: gradients and the optimiser's state."
    ),
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM is not supported. Set distributed_type: FSDP and fsdp_version: 2.",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism_config is not supported. Remove it: one run has one FSDP group.",
}
WRAPS_BLOCKS = "TRANSFORMER_BASED_WRAP"


def is_asked_for() -> bool:
    """Whether weights are to be sharded, in a run of several processes."""
    return is_set(FSDP)


def is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


def sharding_mistakes() -> list[str]:
    """What accelerate's configuration asks for that a run cannot do."""
    found = [f"accelerate's configuration: {why}" for variable, why in REFUSED.items() if is_set(variable)]
    if is_asked_for() and os.environ.get("FSDP_VERSION", "1") != "2":
        found.append("accelerate's configuration: FSDP 1 is not supported. Set fsdp_version: 2 in fsdp_config.")
    return found


def is_sharded() -> bool:
    """Whether the weights of this run are sharded; a single process keeps them whole.

    Raises:
        ConfigError: where accelerate's configuration asks for what a run cannot do.
    """
    if mistakes := sharding_mistakes():
        raise ConfigError(mistakes)
    return is_asked_for() and processes.count() > 1


def shard(network: Any, device: torch.device) -> list[FSDPModule]:
    """Shard a network's weights, trained and frozen, over all processes of the run.

    Gradients are summed over processes, not averaged, since each weights its losses by its share of a minibatch.

    Args:
        network: in host memory or on the device, the same on every process.
        device: where a pass gathers the weights of one block after the other.
    Returns:
        The modules whose weights are gathered together, inner ones first.
    """
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import OffloadPolicy, fully_shard

    plugin = FullyShardedDataParallelPlugin()
    mesh = init_device_mesh(device.type, (processes.count(),))
    offload = plugin.cpu_offload if device.type != "cpu" else OffloadPolicy()
    network.to(memory_format=torch.contiguous_format)  # the only one that can be sharded
    units = [*blocks(network, plugin), network]
    for unit in units:
        fully_shard(unit, mesh=mesh, reshard_after_forward=plugin.reshard_after_forward, offload_policy=offload)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    return units


def blocks(network: torch.nn.Module, plugin: FullyShardedDataParallelPlugin) -> list[Any]:
    """Those modules of a network that accelerate's configuration wraps, inner ones first."""
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy

    modules = list(network.modules())
    classes = {type(module).__name__ for module in modules}
    if os.environ.get("FSDP_AUTO_WRAP_POLICY", "").upper() == WRAPS_BLOCKS:
        named = plugin.transformer_cls_names_to_wrap
        if named and (unknown := [name for name in named if name not in classes]):
            known = ", ".join(getattr(network, "_no_split_modules", None) or sorted(classes))
            raise ConfigError(
                [
                    f"accelerate's configuration: fsdp_transformer_layer_cls_to_wrap: {type(network).__name__} has no "
                    f"{unknown[0]}. Leave it out, or name one of its blocks: {known}."
                ]
            )
        own = getattr(network, "_no_split_modules", None) or ()
        plugin.transformer_cls_names_to_wrap = named or [name for name in own if name in classes]
    plugin.set_auto_wrap_policy(network)
    is_wrapped = fsdp2_prepare_auto_wrap_policy(plugin, network)
    lists = (torch.nn.ModuleList, torch.nn.ModuleDict)  # which run nothing themselves
    inner_first = [module for module in reversed(modules[1:]) if not isinstance(module, lists)]
    return [module for module in inner_first if is_wrapped and is_wrapped(module)]


def release(units: Iterable[FSDPModule]) -> None:
    """Drop the gathered weights, so that the next pass gathers those of that time."""
    for unit in units:
        unit.reshard()
