"""One training, from a configuration to a finished run folder; the only place that knows all of a run.

A run killed at any moment resumes from its newest checkpoint and ends with the numbers of an uninterrupted one: all
that is random in an epoch follows from (seed, epoch), and all else that an epoch depends on is in the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ddpo_kernels import NoDensity

from ddpo_bench import processes
from ddpo_bench.config import RunConfig
from ddpo_bench.files import naming_disk_trouble
from ddpo_bench.host_memory import is_large
from ddpo_bench.policies.precision import allow_tf32
from ddpo_bench.policies.sharding import is_sharded
from ddpo_bench.process_errors import errors_told, one_error_for_all
from ddpo_bench.protocols import AdvantageEstimator, Algorithm, Policy, Reward, Sampler
from ddpo_bench.training.checkpoint import load, newest, restore
from ddpo_bench.training.density import density_mistake
from ddpo_bench.training.ema import Ema
from ddpo_bench.training.evaluation import Evaluator
from ddpo_bench.training.loggers import refuse_unavailable
from ddpo_bench.training.micro_batch import Trial, resolve
from ddpo_bench.training.provenance import provenance
from ddpo_bench.training.record import Record, Row, RunFolder
from ddpo_bench.training.rollout import Collector, prompt_sides


def train(config: RunConfig, folder: Path, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Train, or resume training, in a run folder; a finished run returns at once, unless it is given more epochs.

    Several processes that are one group of torch.distributed train one run together; each of them calls this.

    Args:
        on_row: called in the first process with every row of metrics.jsonl as it is written, and with
            {"epoch", "sampled"} while sampling.
    Raises:
        DifferentConfig: where `folder` holds a run of another configuration, or a file that it reads has changed.
        DiskTrouble: where nothing more can be written; the run can be resumed later.
        ProcessLost: where another process is gone; the run can be resumed.
        Exception: whatever stopped the run, in whichever process; status.json says why.
    """
    device = processes.device()
    with one_error_for_all():
        record = Record() if processes.rank() else RunFolder(config, folder, on_row)
    if processes.agreed(record.is_done()):
        return
    with record.to_its_end(), errors_told(), naming_disk_trouble(folder):
        run_epochs(config, folder, device, record)


def run_epochs(config: RunConfig, folder: Path, device: torch.device, record: Record) -> None:
    refuse_unavailable(config.logger)
    if mistake := density_mistake(config):
        raise NoDensity(mistake)
    policy, sampler = start_policy(config, device)
    algorithm: Algorithm = config.algorithm.build()
    algorithm.start(policy, config.seed)
    advantages: AdvantageEstimator = config.advantages.build()
    reward: Reward = config.reward.build()
    reward.start(device)
    training_prompts, evaluation_prompts = prompt_sides(config, policy)
    origin = provenance(config, policy, sampler)
    on_host = is_kept_on_host(config, policy, sampler, algorithm, record)
    origin["rollout_device"] = "host" if on_host else str(device)
    trial = Trial(config, policy, sampler, training_prompts, reward, algorithm, on_host)
    micro_batch = origin["micro_batch"] = resolve(trial, folder, origin["processor"])
    collector = Collector(
        policy, sampler, training_prompts, reward, advantages, algorithm,
        config.samples_per_epoch, config.samples_per_prompt, micro_batch, config.seed, on_host, config.scoring,
    )  # fmt: skip
    evaluator = Evaluator(config, policy, sampler, evaluation_prompts, reward, record.pictures, micro_batch)
    record.identify(origin)  # all that the configuration names has started
    parts: dict[str, Any] = {"policy": policy, "algorithm": algorithm, "advantages": advantages, "reward": reward}
    parts |= {"judges": evaluator, **record.parts}
    ema = Ema(policy, config.ema)
    if config.ema:
        parts["ema"] = ema
    checkpoint = processes.agreed(newest(folder))
    with one_error_for_all():
        state = load(checkpoint, torch.device("cpu") if is_sharded() else device) if checkpoint else None
    if state is not None:
        restore(folder, parts, state)
    done: int | None = None if state is None else state["epoch"]

    def write(row: Row) -> None:
        with one_error_for_all():
            record.row(row)

    def evaluate(epoch: int) -> None:
        with ema.in_place():
            row = evaluator.evaluate(epoch)
        write({"epoch": epoch, **row})

    def save(epoch: int) -> None:
        if processes.agreed(record.is_due(epoch)):
            with record.measure("checkpoint"):
                state = snapshot(parts, epoch, epoch == config.epochs)
                record.save(epoch, state)

    with record.opened(0 if done is None else done + 1), ema.following():
        if done is None:
            record.start_anew()
            evaluate(0)
            save(0)
        for epoch in range((done or 0) + 1, config.epochs + 1):
            rollout, row = collector.collect(epoch, partial(record.sampled, epoch))
            clock = time.perf_counter()
            row |= algorithm.update(policy, rollout)
            row |= {"seconds_learning": time.perf_counter() - clock}
            row |= collector.compare(epoch, rollout)
            row |= {"memory_peak_mb": processes.largest(peak_memory_mb(device))}
            write({"epoch": epoch, "queries": epoch * config.samples_per_epoch, **row})
            if epoch == config.epochs or (config.evaluation.every and epoch % config.evaluation.every == 0):
                evaluate(epoch)
            save(epoch)
            record.finished(epoch)


def start_policy(config: RunConfig, device: torch.device) -> tuple[Policy, Sampler]:
    """The configured policy with its weights, and the sampler on its noise schedule."""
    policy: Policy = config.policy.build()
    sampler: Sampler = config.sampler.build()
    allow_tf32(config.tf32)
    policy.start(device, config.seed)
    policy.prepare_network(compiles(config, device), config.gradient_checkpointing)
    if is_sharded():
        policy.shard()
    sampler.start(policy.scheduler_config, device, config.backend)
    return policy, sampler


def compiles(config: RunConfig, device: torch.device) -> bool:
    """Whether blocks are compiled: on a CPU that takes longer than it saves, so that a file may serve both."""
    return config.compile == "regional" and device.type != "cpu"


def is_kept_on_host(config: RunConfig, policy: Policy, sampler: Sampler, algorithm: Algorithm, record: Record) -> bool:
    """Whether an epoch's latents are kept in host memory, which output.log then tells."""
    if algorithm.needs == "x_0" or policy.device.type != "cuda":
        return False
    size = 4 * config.samples_per_epoch * (len(sampler.timesteps) + 1) * math.prod(policy.latent_shape)
    on_host = is_large(size, policy.device) if config.rollout_device == "auto" else config.rollout_device == "host"
    on_host = bool(processes.largest(on_host))  # where it is for one, for all
    if on_host:
        moves = "each micro-batch moves there once it is sampled, and what is learned from comes back in micro-batches"
        record.note(f"rollout: {size / 1e9:.1f} GB of latents in pinned host memory; {moves}")
    return on_host


def snapshot(parts: dict[str, Any], epoch: int, last: bool) -> dict[str, Any]:
    """The state from which a run resumes, also a finished one that is given more epochs.

    Before the first epoch every part is as it starts, except for the rows, and for rewards that have learned their
    scale from the first evaluation; the weights are kept for pictures if that epoch is also the last.
    """
    first = {"metrics", "reward", "judges"}
    kept = parts.keys() if epoch else {"policy", *first} if last else first
    return {"epoch": epoch, **{name: part.state_dict() for name, part in parts.items() if name in kept}}


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the accelerator, or the process's peak resident size on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
