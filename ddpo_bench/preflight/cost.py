"""What a plan costs, in lines for people: learning, memory, disk, time; what is not known is said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ddpo_bench.config import RunConfig
from ddpo_bench.preflight.flops import counted_seconds
from ddpo_bench.preflight.memory import Needs, device_here, memory_here, needs
from ddpo_bench.preflight.probe import Pace, measure
from ddpo_bench.preflight.prompt_length import length_lines
from ddpo_bench.protocols import Policy
from ddpo_bench.run_folder.status import read_status
from ddpo_bench.sweep.estimate import duration, makespan, size
from ddpo_bench.sweep.room import Room, room_for


class PlannedCell(NamedTuple):
    """A cell and how often it is run, in trials and then on the suite's seeds."""

    name: str
    config: RunConfig
    runs: int

    @property
    def key(self) -> str:
        """Unlike the name, no other cell's."""
        return self.config.identity()


@dataclass(frozen=True)
class Plan:
    """What would be run, and the folder for its results."""

    cells: Sequence[PlannedCell]
    root: Path

    @property
    def workers(self) -> int:
        return min(self.room.most, sum(cell.runs for cell in self.cells))

    @cached_property
    def room(self) -> Room:
        return room_for(cell.config.resources for cell in self.cells)

    @cached_property
    def needs(self) -> list[tuple[PlannedCell, Needs]]:
        """Of those cells whose model can be counted."""
        return [(cell, need) for cell in self.cells if (need := needs(cell.config))]

    def disk(self) -> tuple[int, int]:
        """Bytes of checkpoints where every run is broken off, and where every run is done."""
        most = sum(cell.runs * cell.config.checkpoints_kept * need.checkpoint for cell, need in self.needs)
        return most, sum(cell.runs * need.checkpoint for cell, need in self.needs)


def estimates(plan: Plan, measuring: bool) -> Iterator[str]:
    """Lines, as they become known.

    Args:
        measuring: whether one micro-batch of cells without a finished run may be tried.
    """
    absent = [config.policy for _, config, _ in plan.cells if not is_here(config)]
    for model in dict.fromkeys(policy.options.get("model", policy.name) for policy in absent):
        yield f"model     {model}: not on this machine; the first run downloads it from the hub"
    for line in length_lines(config for _, config, _ in plan.cells):
        yield f"prompts   {line}"
    yield f"learning  {learning_line(plan)}"
    if device_here().type == "cpu" and any(config.compile == "regional" for _, config, _ in plan.cells):
        yield "compile   regional is ignored: this machine has no GPU"
    paces = {cell.key: measure(cell.config) for cell in plan.cells if measuring and can_be_measured(cell, plan.root)}
    yield from memory_lines(plan, paces)
    yield f"time      {time_line(plan, paces, measuring)}"


def is_here(config: RunConfig) -> bool:
    policy: Policy = config.policy.build()
    return policy.stored_scheduler_config() is not None


def can_be_measured(cell: PlannedCell, root: Path) -> bool:
    """Whether its model is here; where runs of it are finished, they tell more."""
    return finished_seconds(cell.config, root) is None and is_here(cell.config)


def learning_line(plan: Plan) -> str:
    updates = sum(cell.runs * cell.config.algorithm.build().updates(cell.config) for cell in plan.cells)
    return f"{updates:,} optimiser updates"


def memory_lines(plan: Plan, paces: Mapping[str, Pace]) -> Iterator[str]:
    """Counted parts, and the peak where it was measured; the cell that needs most."""
    known = [(cell, need, total(cell, need, paces)) for cell, need in plan.needs]
    if not known:
        yield "memory    not known: no model is here or a published one whose policy says how large it is"
        return
    room, where = memory_here()
    shared = where == "this machine"  # by all processes of all workers; each has a GPU of its own otherwise
    cell, most, count = max(known, key=lambda entry: entry[2] * (processes_of(entry[0]) if shared else 1))
    parts = {"weights": most.weights, "gradients": most.gradients, "algorithm": most.state, "rollout": most.rollout}
    parts["activations"] = most.activations
    listed = ", ".join(f"{part} {size(count)}" for part, count in parts.items() if count)
    processes = processes_of(cell)
    many = holders(plan.workers, processes) if shared else ""
    known_by = (
        "about {}{} by measuring a micro-batch" if cell.key in paces else "about {}{} as counted, and torch itself"
    )
    yield f"memory    {known_by.format(size(count), many)}; {where} has {size(room)}"
    yield f"          ({cell.name}: {listed}; {most.trained:,} numbers trained)"
    if count * (plan.workers * processes if shared else 1) > room:
        yield "          This is more than there is: lower micro_batch or --workers, set gradient_checkpointing: true,"
        yield "          or train adapter: {name: lora}."
    broken_off, done = plan.disk()
    yield f"disk      checkpoints: {size(done)} when all runs are done, at most {size(broken_off)} before"


def processes_of(cell: PlannedCell) -> int:
    """Each holds weights and a whole rollout."""
    return cell.config.resources.processes


def holders(workers: int, processes: int) -> str:
    """Whose memory it is: " for each of 3 processes in each of 2 workers"; empty where one process holds all."""
    counts = {"processes": processes, "workers": workers}
    several = [f"{number} {what}" for what, number in counts.items() if number > 1]
    return f" for each of {' in each of '.join(several)}" if several else ""


def total(cell: PlannedCell, need: Needs, paces: Mapping[str, Pace]) -> int:
    """The peak with a whole epoch's rollout where it was measured with a part of it; else what is counted."""
    if cell.key not in paces:
        return need.memory
    pace = paces[cell.key]
    return pace.peak + need.rollout - need.rollout * pace.samples // cell.config.samples_per_epoch


def time_line(plan: Plan, paces: Mapping[str, Pace], measuring: bool) -> str:
    seconds = [(cell, seconds_of(cell, plan.root, paces)) for cell in plan.cells]
    known = [(cell, found) for cell, found in seconds if found is not None]
    if not known:
        return f"not known: no run with this configuration is done in {plan.root}; {remedy(plan, measuring)}"
    total = makespan([found for cell, (found, _) in known for _ in range(cell.runs)], plan.workers)
    sources = ", ".join(dict.fromkeys(source for _, (_, source) in known))
    hands = f"{plan.workers} worker{'s' * (plan.workers > 1)}"
    runs = sum(cell.runs for cell, _ in known)
    text = f"about {duration(total)} for {runs} run{'s' * (runs > 1)} with {hands} ({sources})"
    missing = [cell.name for cell, found in seconds if found is None]
    text += f"; not known for {', '.join(missing)}" if missing else ""
    return text if "by counted" not in text and not missing else f"{text}; for more, {remedy(plan, measuring)}"


def remedy(plan: Plan, measuring: bool) -> str:
    if not measuring and any(is_here(cell.config) for cell in plan.cells):
        return "--measure tries one micro-batch of each cell"
    return "run one seed of each cell first, or have the model in a local folder and add --measure"


def seconds_of(cell: PlannedCell, root: Path, paces: Mapping[str, Pace]) -> tuple[float, str] | None:
    """How long a run takes, and how that is known: by finished runs of the same configuration, by a measurement, or by
    counted FLOPs."""
    if (seconds := finished_seconds(cell.config, root)) is not None:
        return seconds, "by finished runs"
    if pace := paces.get(cell.key):
        return pace.of_run(cell.config), "by measuring a micro-batch"
    return counted_seconds(cell.config)


def finished_seconds(config: RunConfig, root: Path) -> float | None:
    """Seconds of the finished runs of this configuration, their median."""
    statuses = [read_status(folder) for folder in root.glob(f"runs/*-{config.identity()}/seed-*")]
    done = [status["seconds"] for status in statuses if status["state"] == "done"]
    return median(done) if done else None
