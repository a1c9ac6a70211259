"""One training, from a configuration to a finished run folder; the only place that knows all of a run.

A run killed at any moment resumes from its newest checkpoint and ends with the numbers of an uninterrupted one: all
that is random in an epoch follows from (seed, epoch), and all else that an epoch depends on is in the checkpoint.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import accelerate
import torch

from ddpo_bench.config import RunConfig
from ddpo_bench.files import DiskTrouble, naming_disk_trouble
from ddpo_bench.host_memory import is_large
from ddpo_bench.policies.precision import allow_tf32
from ddpo_bench.protocols import AdvantageEstimator, Algorithm, Policy, Reward, Sampler
from ddpo_bench.training.checkpoint import Checkpoints, load_newest, restore
from ddpo_bench.training.ema import Ema
from ddpo_bench.training.evaluation import Evaluator
from ddpo_bench.training.loggers import make_logger, refuse_unavailable
from ddpo_bench.training.metrics_file import MetricsFile
from ddpo_bench.training.micro_batch import Trial, resolve
from ddpo_bench.training.provenance import provenance
from ddpo_bench.training.rollout import Collector, prompt_sides
from ddpo_bench.training.run_identity import refuse_other_run, write_identity
from ddpo_bench.training.status import Status, Stop

Row = dict[str, Any]


def train(config: RunConfig, folder: Path, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Train, or resume training, in a run folder; a finished run returns at once, unless it is given more epochs.

    Args:
        on_row: called with every row of metrics.jsonl as it is written, and with {"epoch", "sampled"} while sampling.
    Raises:
        DifferentConfig: where `folder` holds a run of another configuration, or a file that it reads has changed.
        DiskTrouble: where nothing more can be written; the run can be resumed later.
        Exception: whatever stopped the run; status.json says why.
    """
    refuse_other_run(folder, config)
    status = Status.of(folder, config.epochs)
    if status.state == "done" and status.epoch >= config.epochs:
        return
    status.begin()
    try:
        with naming_disk_trouble(folder):
            run_epochs(config, folder, status, on_row)
    except KeyboardInterrupt:
        status.end("killed", "interrupted")
        raise
    except (Stop, DiskTrouble) as stop:
        status.end("killed", str(stop))
        raise
    except Exception as error:
        status.end("failed", f"{type(error).__name__}: {error}")
        raise
    status.end("done")


def run_epochs(config: RunConfig, folder: Path, status: Status, on_row: Callable[[Row], None]) -> None:
    refuse_unavailable(config.logger)
    device = accelerate.PartialState().device
    policy, sampler = start_policy(config, device)
    algorithm: Algorithm = config.algorithm.build()
    algorithm.start(policy, config.seed)
    advantages: AdvantageEstimator = config.advantages.build()
    reward: Reward = config.reward.build()
    reward.start(device)
    training_prompts, evaluation_prompts = prompt_sides(config, policy)
    origin = provenance(config, policy)
    on_host = is_kept_on_host(config, policy, sampler, algorithm)
    origin["rollout_device"] = "host" if on_host else str(device)
    trial = Trial(config, policy, sampler, training_prompts, reward, algorithm, on_host)
    micro_batch = origin["micro_batch"] = resolve(trial, folder, origin["processor"])
    collector = Collector(
        policy, sampler, training_prompts, reward, advantages, algorithm,
        config.samples_per_epoch, config.samples_per_prompt, micro_batch, config.seed, on_host,
    )  # fmt: skip
    evaluator = Evaluator(config, policy, sampler, evaluation_prompts, reward, folder, micro_batch)
    write_identity(folder, config, origin)  # all that the configuration names has started
    metrics = MetricsFile(folder / "metrics.jsonl")
    parts: dict[str, Any] = {"policy": policy, "algorithm": algorithm, "advantages": advantages, "metrics": metrics}
    ema = Ema(policy, config.ema)
    if config.ema:
        parts["ema"] = ema
    state = load_newest(folder, device)
    done = 0
    if state is not None:
        done = state["epoch"]
        restore(folder, parts, state)
    first_epoch = 0 if state is None else done + 1
    with (
        closing(make_logger(config, folder, first_epoch)) as logger,
        Checkpoints(folder, metrics.path) as checkpoints,
        ema.following(),
    ):

        def write(row: Row) -> None:
            with status.measure("files"):
                metrics.append(row)
                logger.log(row)
                on_row(row)

        def evaluate(epoch: int) -> None:
            with ema.in_place():
                row = evaluator.evaluate(epoch)
            write({"epoch": epoch, **row})

        def save(epoch: int) -> None:
            last = epoch == config.epochs
            if epoch and not last and time.monotonic() - checkpoints.saved < config.checkpoint_seconds:
                return
            with status.measure("checkpoint"):
                state = snapshot(parts, epoch, last)
                checkpoints.save(epoch, state, keep=1 if last else config.checkpoints_kept)

        status.is_ready()
        if state is None:
            metrics.start_anew()
            evaluate(0)
            save(0)
        for epoch in range(done + 1, config.epochs + 1):
            rollout, row = collector.collect(epoch, partial(report_sampling, on_row, epoch))
            clock = time.perf_counter()
            row |= algorithm.update(policy, rollout)
            row |= {"seconds_learning": time.perf_counter() - clock}
            row |= collector.compare(epoch, rollout) | {"memory_peak_mb": peak_memory_mb(device)}
            write({"epoch": epoch, "queries": epoch * config.samples_per_epoch, **row})
            if epoch == config.epochs or (config.evaluation.every and epoch % config.evaluation.every == 0):
                evaluate(epoch)
            save(epoch)
            checkpoints.then(partial(status.progress, epoch))
    status.metrics_crc32 = metrics.crc32


def report_sampling(on_row: Callable[[Row], None], epoch: int, sampled: int) -> None:
    on_row({"epoch": epoch, "sampled": sampled})


def start_policy(config: RunConfig, device: torch.device) -> tuple[Policy, Sampler]:
    """The configured policy with its weights, and the sampler on its noise schedule."""
    policy: Policy = config.policy.build()
    sampler: Sampler = config.sampler.build()
    allow_tf32(config.tf32)
    policy.start(device, config.seed)
    policy.prepare_network(compiles(config, device), config.gradient_checkpointing)
    sampler.start(policy.scheduler_config, device, config.backend)
    return policy, sampler


def compiles(config: RunConfig, device: torch.device) -> bool:
    """Whether blocks are compiled: on a CPU that takes longer than it saves, so that a file may serve both."""
    return config.compile == "regional" and device.type != "cpu"


def is_kept_on_host(config: RunConfig, policy: Policy, sampler: Sampler, algorithm: Algorithm) -> bool:
    """Whether an epoch's latents are kept in host memory, which output.log then tells."""
    if algorithm.needs == "x_0" or policy.device.type != "cuda":
        return False
    size = 4 * config.samples_per_epoch * (len(sampler.timesteps) + 1) * math.prod(policy.latent_shape)
    on_host = is_large(size, policy.device) if config.rollout_device == "auto" else config.rollout_device == "host"
    if on_host:
        moves = "each micro-batch moves there once it is sampled, and what is learned from comes back in micro-batches"
        print(f"rollout: {size / 1e9:.1f} GB of latents in pinned host memory; {moves}", file=sys.stderr, flush=True)
    return on_host


def snapshot(parts: dict[str, Any], epoch: int, last: bool) -> dict[str, Any]:
    """The state from which a run resumes, also a finished one that is given more epochs.

    Before the first epoch every part except for the rows is as it starts; the weights are kept for pictures if that
    epoch is also the last.
    """
    kept = parts.keys() if epoch else {"policy", "metrics"} if last else {"metrics"}
    return {"epoch": epoch, **{name: part.state_dict() for name, part in parts.items() if name in kept}}


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the accelerator, or the process's peak resident size on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
