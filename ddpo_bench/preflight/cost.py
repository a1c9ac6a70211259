"""What a plan costs, in lines for people: learning, memory, disk, time; what is not known is said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ddpo_bench.config import RunConfig
from ddpo_bench.policies.model_folder import local_folder
from ddpo_bench.preflight.memory import Needs, memory_here, needs
from ddpo_bench.preflight.prompt_length import length_lines
from ddpo_bench.sweep.estimate import duration, makespan, size
from ddpo_bench.sweep.standing import status_of
from ddpo_bench.sweep.workers import default_count


class PlannedCell(NamedTuple):
    """A cell and how often it is run, in trials and then on the suite's seeds."""

    name: str
    config: RunConfig
    runs: int


@dataclass(frozen=True)
class Plan:
    """What would be run, and the folder for its results."""

    cells: Sequence[PlannedCell]
    root: Path

    @property
    def workers(self) -> int:
        return min(default_count(), sum(cell.runs for cell in self.cells))

    def needs(self) -> list[tuple[PlannedCell, Needs]]:
        """Of those cells whose model can be counted."""
        return [(cell, need) for cell in self.cells if (need := needs(cell.config))]

    def disk(self) -> tuple[int, int]:
        """Bytes of checkpoints where every run is broken off, and where every run is done."""
        known = self.needs()
        most = sum(cell.runs * cell.config.checkpoints_kept * need.checkpoint for cell, need in known)
        return most, sum(cell.runs * need.checkpoint for cell, need in known)


def estimates(plan: Plan, measure: bool) -> Iterator[str]:
    """Lines, as they become known.

    Args:
        measure: whether cells without a finished run may be timed.
    """
    for model in dict.fromkeys(str(config.policy.options.get("model", "")) for _, config, _ in plan.cells):
        if model and local_folder(model) is None:
            yield f"model     {model}: not on this machine; the first run downloads it from the hub"
    for line in length_lines(config for _, config, _ in plan.cells):
        yield f"prompts   {line}"
    yield f"learning  {learning_line(plan)}"
    yield from memory_lines(plan)
    yield f"time      {time_line(plan, measure)}"


def learning_line(plan: Plan) -> str:
    updates = [(cell, updates_of(cell.config)) for cell in plan.cells]
    known = [cell.runs * count for cell, count in updates if count is not None]
    if not known:
        return "the algorithms do not tell how many optimiser updates they make"
    text = f"{sum(known):,} optimiser updates"
    silent = sorted({cell.config.algorithm.name for cell, count in updates if count is None})
    return text + (f", without those of {', '.join(silent)}, which do not tell" if silent else "")


def updates_of(config: RunConfig) -> int | None:
    """Optimiser updates of the policy in one run; None where the algorithm does not tell."""
    options = config.algorithm.options
    if config.algorithm.name == "frozen":
        return 0
    if "actor_updates" in options:
        steps = options["actor_updates"]
    elif "minibatches" in options:
        steps = options["minibatches"] * options["passes"]
    else:
        return None
    epochs = max(0, config.epochs - options.get("warmup_epochs", 0))
    return epochs * steps


def memory_lines(plan: Plan) -> Iterator[str]:
    known = plan.needs()
    if not known:
        yield "memory    not known: the model is not here, or its weights are not safetensors"
        return
    cell, most = max(known, key=lambda pair: pair[1].memory)
    parts = {
        "weights": most.weights,
        "gradients": most.gradients,
        "optimiser": most.optimiser,
        "a micro-batch": most.micro_batch,
        "rollout": most.rollout,
    }
    listed = ", ".join(f"{part} {size(count)}" for part, count in parts.items() if count)
    room, where = memory_here()
    many = f" for each of {plan.workers} workers" if where == "this machine" and plan.workers > 1 else ""
    yield f"memory    about {size(most.memory)} beside torch itself{many}; {where} has {size(room)}"
    yield f"          ({cell.name}: {listed}; {most.trained:,} numbers trained)"
    if most.memory * (plan.workers if many else 1) > room:
        yield "          This is more than there is: lower micro_batch or --workers, or train adapter: {name: lora}."
    broken_off, done = plan.disk()
    yield f"disk      checkpoints: {size(done)} when all runs are done, at most {size(broken_off)} before"


def time_line(plan: Plan, measure: bool) -> str:
    seconds = [(cell, seconds_of(cell.config, plan.root, measure)) for cell in plan.cells]
    known = [(cell, found) for cell, found in seconds if found is not None]
    if not known:
        return f"not known: no run of it is done in {plan.root}; {remedy(plan, measure)}"
    total = makespan([found for cell, (found, _) in known for _ in range(cell.runs)], plan.workers)
    sources = ", ".join(dict.fromkeys(source for _, (_, source) in known))
    hands = f"{plan.workers} worker{'s' * (plan.workers > 1)}"
    text = f"about {duration(total)} for {sum(cell.runs for cell, _ in known)} runs with {hands} ({sources})"
    missing = [cell.name for cell, found in seconds if found is None]
    return text + (f"; not known for {', '.join(missing)}: {remedy(plan, measure)}" if missing else "")


def remedy(plan: Plan, measure: bool) -> str:
    here = any(local_folder(str(config.policy.options.get("model", ""))) for _, config, _ in plan.cells)
    if here and not measure:
        return "--measure tries one micro-batch of each cell"
    return "run one seed of each cell first, or have the model in a local folder and add --measure"


def seconds_of(config: RunConfig, root: Path, measure: bool) -> tuple[float, str] | None:
    """What a run takes, and how that is known: by finished runs of the same configuration, or by a measurement."""
    statuses = [status_of(folder) for folder in root.glob(f"runs/*-{config.identity()}/seed-*")]
    done = [status["seconds"] for status in statuses if status["state"] == "done"]
    if done:
        return median(done), "by finished runs"
    if not measure or local_folder(str(config.policy.options.get("model", ""))) is None:
        return None
    from ddpo_bench.preflight import probe

    return probe.measure(config).of_run(config), "by measuring a micro-batch"
