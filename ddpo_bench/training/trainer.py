"""One training, from a configuration to a finished run folder; the only place that knows the whole way of a run.

A run killed at any moment goes on from its newest checkpoint and ends with the numbers of an unbroken one: everything
random in an epoch follows from (seed, epoch), and everything else that an epoch depends on is in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import accelerate
import torch

from ddpo_bench.config import EXECUTION_KEYS, RunConfig, load_yaml
from ddpo_bench.files import write_json, write_yaml
from ddpo_bench.protocols import AdvantageEstimator, Algorithm, Policy, Sampler
from ddpo_bench.training.checkpoint import keep_policy_alone, load_newest, save_checkpoint
from ddpo_bench.training.evaluation import Evaluator
from ddpo_bench.training.loggers import make_logger
from ddpo_bench.training.metrics_file import MetricsFile
from ddpo_bench.training.provenance import provenance
from ddpo_bench.training.rollout import Collector
from ddpo_bench.training.status import Status

Row = dict[str, Any]


class DifferentConfig(Exception):
    """The run folder holds another configuration."""


def train(config: RunConfig, folder: Path, on_row: Callable[[Row], None] = lambda row: None) -> None:
    """Train, or go on training, in a run folder; a finished run returns at once.

    Args:
        on_row: called with every row of metrics.jsonl as it is written, and with {"epoch", "sampled"} while sampling.
    Raises:
        DifferentConfig: where `folder` holds a run of another configuration.
        Exception: whatever stopped the run; status.json says why.
    """
    claim(folder, config)
    status = Status.of(folder, config.epochs)
    if status.state == "done":
        return
    status.begin()
    try:
        run_epochs(config, folder, status, on_row)
    except KeyboardInterrupt:
        status.end("killed", "interrupted")
        raise
    except Exception as error:
        status.end("failed", f"{type(error).__name__}: {error}")
        raise
    status.end("done")
    keep_policy_alone(folder)


def run_epochs(config: RunConfig, folder: Path, status: Status, on_row: Callable[[Row], None]) -> None:
    device = accelerate.PartialState().device
    policy, sampler = start_policy(config, device)
    algorithm: Algorithm = config.algorithm.build()
    algorithm.start(policy, config.seed)
    advantages: AdvantageEstimator = config.advantages.build()
    reward = config.reward.build()
    write_json(folder / "provenance.json", provenance(policy))

    collector = Collector(
        policy, sampler, config.prompts.build(), reward, advantages,
        config.samples_per_epoch, config.samples_per_prompt, config.micro_batch, config.seed,
    )  # fmt: skip
    evaluator = Evaluator(config, policy, sampler, reward, folder)
    parts: dict[str, Any] = {"policy": policy, "algorithm": algorithm, "advantages": advantages}
    state = load_newest(folder, device)
    done = 0
    if state is not None:
        done = state["epoch"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    metrics = MetricsFile(folder / "metrics.jsonl", keep_epochs=done if state is not None else -1)
    with closing(make_logger(config, folder)) as logger:

        def write(row: Row) -> None:
            metrics.append(row)
            logger.log(row)
            on_row(row)

        if state is None:
            write({"epoch": 0, **evaluator.evaluate(0)})
            save_checkpoint(folder, 0, snapshot(parts, 0), config.checkpoints_kept)
        for epoch in range(done + 1, config.epochs + 1):
            rollout, row = collector.collect(epoch, partial(report_sampling, on_row, epoch))
            clock = time.perf_counter()
            row |= algorithm.update(policy, rollout)
            row |= {"seconds_learning": time.perf_counter() - clock, "memory_peak_mb": peak_memory_mb(device)}
            write({"epoch": epoch, "queries": epoch * config.samples_per_epoch, **row})
            if epoch == config.epochs or (config.evaluation.every and epoch % config.evaluation.every == 0):
                write({"epoch": epoch, **evaluator.evaluate(epoch)})
            save_checkpoint(folder, epoch, snapshot(parts, epoch), config.checkpoints_kept)
            status.progress(epoch)


def report_sampling(on_row: Callable[[Row], None], epoch: int, sampled: int) -> None:
    on_row({"epoch": epoch, "sampled": sampled})


def start_policy(config: RunConfig, device: torch.device) -> tuple[Policy, Sampler]:
    """The configured policy with its weights, and the sampler on its noise schedule."""
    policy: Policy = config.policy.build()
    sampler: Sampler = config.sampler.build()
    policy.start(device, config.seed)
    sampler.start(policy.scheduler_config, device, config.backend)
    return policy, sampler


def snapshot(parts: dict[str, Any], epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}


def claim(folder: Path, config: RunConfig) -> None:
    """Make the folder this configuration's, or check that it is."""
    path = folder / "config.yaml"
    plain = config.to_dict()
    if path.exists():
        held = load_yaml(path)
        decisive = (held.keys() | plain.keys()) - set(EXECUTION_KEYS) | {"seed"}
        different = sorted(key for key in decisive if held.get(key) != plain.get(key))
        if different:
            raise DifferentConfig(
                f"{folder}: holds a run with another {', '.join(different)}; choose another --out or delete it."
            )
        return
    write_yaml(path, plain)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the accelerator, or the process's peak resident size on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
