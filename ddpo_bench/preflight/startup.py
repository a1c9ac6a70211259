"""What would end a run at its start, found without starting it: no weights are loaded, nothing is downloaded.

`validate` tells it, and `run`, `tune`, `work` and `train` refuse it before any work, in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ddpo_bench.config import RunConfig
from ddpo_bench.judge import Judge
from ddpo_bench.policies.sharding import is_asked_for, sharding_mistakes
from ddpo_bench.protocols import Algorithm, Policy, Reward
from ddpo_bench.registry import get
from ddpo_bench.sweep.matrix import locate
from ddpo_bench.sweep.suite import Cell
from ddpo_bench.training.density import density_mistake
from ddpo_bench.training.launch import lacking_gpus
from ddpo_bench.training.launcher import is_launched
from ddpo_bench.training.loggers import logger_mistake


def suite_mistakes(cells: Iterable[Cell], overrides: Sequence[str] = (), here: bool = True) -> list[str]:
    """The mistakes of a suite's cells, each with its place in the file, without repetition.

    Args:
        overrides: `--set key=value`, which may be to blame.
        here: whether this machine is the one that trains.
    """
    found: dict[str, None] = {}
    for cell in cells:
        mistakes = config_mistakes(cell.config, here)
        found |= dict.fromkeys(locate(mistake, cell.places, overrides) for mistake in mistakes)
    return list(found)


def config_mistakes(config: RunConfig, here: bool = True) -> list[str]:
    """The mistakes of one configuration, each beginning with the key to change."""
    found = policy_mistakes(config) + probe_mistakes(config)
    if mistake := density_mistake(config):
        found.append(mistake)
    if here:
        reward: Reward = config.reward.build()
        found += (
            reward.mistakes()
            + judge_mistakes(config)
            + backend_mistakes(config.backend)
            + sharding_mistakes()
            + shard_mistakes(config)
        )
        if mistake := logger_mistake(config.logger):
            found.append(f"logger: {mistake}")
        if not is_launched() and (mistake := lacking_gpus(config, gpu_count())):
            found.append(mistake)
    return found


def judge_mistakes(config: RunConfig) -> list[str]:
    """Judges that cannot start here, except for the rewards of other runs, which tell it themselves."""
    found = []
    for index, judge in enumerate(config.evaluation.judges):
        if isinstance(judge, Judge) and not judge.of_suite:
            place = f"evaluation.judges[{index}]"
            found += [place + mistake.removeprefix("reward") for mistake in judge.reward.build().mistakes()]
    return found


def policy_mistakes(config: RunConfig) -> list[str]:
    """A model that cannot be loaded, or that the sampler cannot sample."""
    policy = config.policy.build()
    if found := policy.mistakes():
        return list(found)
    stored = policy.stored_scheduler_config()
    try:
        if stored is not None:
            config.sampler.build().fits(stored)
    except ValueError as error:
        return [str(error)]
    return []


def probe_mistakes(config: RunConfig) -> list[str]:
    """An algorithm with which `micro_batch: auto` cannot try how many samples fit into memory."""
    algorithm: Algorithm = config.algorithm.build()
    if config.micro_batch != "auto" or not algorithm.learns or type(algorithm).probe is not Algorithm.probe:
        return []
    return [f"micro_batch: auto needs a method `probe`, which {config.algorithm.name} lacks; set it to a number."]


def shard_mistakes(config: RunConfig) -> list[str]:
    """What in a configuration does not go with sharded weights, where accelerate's configuration asks for them."""
    if not is_asked_for():
        return []
    found = []
    if type(config.policy.build()).shard is Policy.shard:
        found.append(f"policy: {config.policy.name} has no method `shard`; run it without FSDP.")
    if not get("algorithm", config.algorithm.name).sharded:
        found.append(f"algorithm: {config.algorithm.name} cannot learn while weights are sharded; run it without FSDP.")
    if config.micro_batch == "auto":
        found.append("micro_batch: auto cannot try what fits while weights are sharded (FSDP); set it to a number.")
    if config.compile == "regional":
        found.append("compile: regional is not supported while weights are sharded (FSDP); set it to none.")
    return found


def backend_mistakes(backend: str) -> list[str]:
    import torch
    from ddpo_kernels import BackendUnavailable, check_backend

    try:
        check_backend(backend, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    except BackendUnavailable as error:
        return [str(error)]
    return []


def gpu_count() -> int:
    import torch

    return torch.cuda.device_count()
