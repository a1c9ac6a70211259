"""What a plan costs, in lines for people: learning, memory, disk, time; what is not known is said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ddpo_bench.config import RunConfig
from ddpo_bench.sweep.estimate import duration, makespan, size
from ddpo_bench.sweep.memory import Needs, memory_here, needs
from ddpo_bench.sweep.model_files import local_folder
from ddpo_bench.sweep.standing import status_of
from ddpo_bench.sweep.workers import default_count


@dataclass(frozen=True)
class Plan:
    """Cells and how often each is run.

    Attributes:
        cells: name and configuration.
        seeds: runs of each cell.
        root: where their results go.
    """

    cells: Sequence[tuple[str, RunConfig]]
    seeds: int
    root: Path

    @property
    def workers(self) -> int:
        return min(default_count(), len(self.cells) * self.seeds)

    def needs(self) -> list[tuple[str, RunConfig, Needs]]:
        """Of those cells whose model can be counted."""
        return [(name, config, need) for name, config in self.cells if (need := needs(config))]

    def disk(self) -> tuple[int, int]:
        """Bytes of checkpoints where every run is broken off, and where every run is done."""
        known = self.needs()
        most = sum(config.checkpoints_kept * need.checkpoint for _, config, need in known)
        return self.seeds * most, self.seeds * sum(need.policy for _, _, need in known)


def outlook(plan: Plan, measure: bool) -> Iterator[str]:
    """Lines, as they become known.

    Args:
        measure: whether cells without a finished run may be timed.
    """
    for model in dict.fromkeys(str(config.policy.options.get("model", "")) for _, config in plan.cells):
        if model and local_folder(model) is None:
            yield f"model     {model}: not on this machine; the first run downloads it from the hub"
    yield f"learning  {learning_line(plan)}"
    yield from memory_lines(plan)
    yield f"time      {time_line(plan, measure)}"


def learning_line(plan: Plan) -> str:
    updates = {name: updates_of(config) for name, config in plan.cells}
    known = {name: count for name, count in updates.items() if count is not None}
    if not known:
        return "the algorithms do not tell how many optimiser updates they make"
    text = f"{plan.seeds * sum(known.values()):,} optimiser updates"
    silent = sorted({config.algorithm.name for name, config in plan.cells if updates[name] is None})
    return text + (f", without those of {', '.join(silent)}, which do not tell" if silent else "")


def updates_of(config: RunConfig) -> int | None:
    """Optimiser updates of the policy in one run; None where the algorithm does not tell."""
    options = config.algorithm.options
    if config.algorithm.name == "frozen":
        return 0
    if "updates_per_epoch" not in options:
        return None
    epochs = max(0, config.epochs - options.get("warmup_epochs", 0))
    return epochs * options["updates_per_epoch"] * options.get("inner_epochs", 1)


def memory_lines(plan: Plan) -> Iterator[str]:
    known = plan.needs()
    if not known:
        yield "memory    not known: the model is not here, or its weights are not safetensors"
        return
    name, _, most = max(known, key=lambda cell: cell[2].memory)
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
    yield f"          ({name}: {listed}; {most.trained:,} numbers trained)"
    if most.memory * (plan.workers if many else 1) > room:
        yield "          This is more than there is: lower micro_batch or --workers, or train adapter: {name: lora}."
    broken_off, done = plan.disk()
    yield f"disk      checkpoints: {size(done)} when all runs are done, at most {size(broken_off)} before"


def time_line(plan: Plan, measure: bool) -> str:
    seconds = {name: seconds_of(config, plan.root, measure) for name, config in plan.cells}
    known = {name: found for name, found in seconds.items() if found is not None}
    if not known:
        return f"not known: no run of it is done in {plan.root}; {remedy(plan, measure)}"
    total = makespan([found for _ in range(plan.seeds) for found, _ in known.values()], plan.workers)
    sources = ", ".join(dict.fromkeys(source for _, source in known.values()))
    hands = f"{plan.workers} worker{'s' * (plan.workers > 1)}"
    text = f"about {duration(total)} for {len(known) * plan.seeds} runs with {hands} ({sources})"
    missing = [name for name in seconds if name not in known]
    return text + (f"; not known for {', '.join(missing)}: {remedy(plan, measure)}" if missing else "")


def remedy(plan: Plan, measure: bool) -> str:
    here = any(local_folder(str(config.policy.options.get("model", ""))) for _, config in plan.cells)
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
    from ddpo_bench.sweep import probe

    return probe.measure(config).of_run(config), "by measuring a micro-batch"
