"""One run as the gallery shows it: how it stands, its curves, the pictures of its evaluations, its configuration."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddpo_bench.alive import signalled
from ddpo_bench.analysis.records import RunRecord, read_run
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import ConfigError
from ddpo_bench.run_folder.places import cell_of, seed_of
from ddpo_bench.sweep.lease import HEARTBEAT, LEASE_SECONDS

SAMPLES = re.compile(r"epoch-(\d{4,9})\.png")
JUDGE = re.compile(r"eval/([^/]+)")
NOT_JUDGES = ("kl_reference", "kl_reference_nats", "diversity")
LONGEST_LINE = 60  # epochs of a curve in a list of runs
NO_PROCESS = "Its process is gone. Run the suite again: it resumes from its checkpoint."


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        id: suite/cell/seed-k.
        status: queued, running, done, failed, killed or damaged.
        final_reward: of a done run, the reward that it was trained on in its last evaluation.
        reward_mean: of the last epoch's samples.
        rewards: epochs with their `reward_mean`, thinned.
    """

    id: str
    suite: str
    cell: str
    algorithm: str
    label: str
    reward: str
    seed: int
    status: str
    reason: str | None
    epoch: int
    epochs: int
    final_reward: float | None = None
    reward_mean: float | None = None
    rewards: list[tuple[int, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """One epoch of a run; None what was not measured in it."""

    epoch: int
    reward_mean: float | None
    reward_std: float | None
    kl_reference_nats: float | None
    eval: dict[str, float | None]


@dataclass(frozen=True)
class Samples:
    """The pictures of the evaluations: grids of tiles, one prompt a tile, the same in every epoch."""

    columns: int
    tile: tuple[int, int]
    prompts: list[str]
    grids: list[Grid]


@dataclass(frozen=True)
class Grid:
    epoch: int
    url: str


@dataclass(frozen=True)
class RunView:
    """All that the gallery shows of a run; `folder` is its path below the suite's."""

    summary: RunSummary
    folder: str
    seconds: float
    judges: list[str]
    curve: list[Point]
    samples: Samples | None
    config: str
    provenance: dict[str, str]


def summary_of(name: str, record: RunRecord) -> RunSummary:
    """One line on a run whose files could be read.

    Args:
        name: its id.
    """
    suite, cell, _ = name.split("/")
    rewards = [(int(row["epoch"]), finite(row.get("reward_mean"))) for row in record.epochs]
    status, reason = standing(record.folder, record.status, record.reason)
    begun = bool(record.config)
    return RunSummary(
        id=name,
        suite=suite,
        cell=cell,
        algorithm=record.algorithm,
        label=record.label if begun else cell_of(record.folder),
        reward=record.task if begun else "",
        seed=record.seed,
        status=status,
        reason=reason,
        epoch=rewards[-1][0] if rewards else 0,
        epochs=int(record.config.get("epochs", 0)),
        final_reward=finite(record.held_out(record.reward)) if status == "done" else None,
        reward_mean=rewards[-1][1] if rewards else None,
        rewards=rewards[:: max(1, -(-len(rewards) // LONGEST_LINE))],
    )


def read_summary(name: str, folder: Path) -> RunSummary:
    """One line on a run, whatever its files hold."""
    try:
        return summary_of(name, read_run(folder))
    except (Damaged, ConfigError) as damage:
        return damaged(name, folder, str(damage))


def damaged(name: str, folder: Path, reason: str) -> RunSummary:
    suite, cell, _ = name.split("/")
    return RunSummary(name, suite, cell, "", cell_of(folder), "", seed_of(folder), "damaged", reason, 0, 0)


def standing(folder: Path, state: str, reason: str | None) -> tuple[str, str | None]:
    """The status of a run and its reason; one whose process was killed could not write so itself."""
    if state != "running" or works(folder):
        return state, reason
    return "killed", NO_PROCESS


def works(folder: Path) -> bool:
    """Whether the process of a run that calls itself running lives, as far as can be seen from here."""
    silent = silence(folder)
    if silent is not None:
        return silent < LEASE_SECONDS
    try:
        return signalled(int(json.loads((folder / "status.json").read_text(encoding="utf-8"))["pid"]))
    except (OSError, ValueError, KeyError):
        return True


def silence(folder: Path) -> float | None:
    """Seconds since a run showed that it lives; None where it never did."""
    try:
        return time.time() - (folder / HEARTBEAT).stat().st_mtime
    except OSError:
        return None


def run_view(name: str, folder: Path) -> RunView:
    """All about one run.

    Raises:
        Damaged, ConfigError: where a file of it is damaged.
    """
    record = read_run(folder)
    curve = curve_of(record)
    config = folder / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return RunView(
        summary=summary_of(name, record),
        folder=str(folder.relative_to(folder.parents[2])),
        seconds=record.seconds,
        judges=sorted({judge for point in curve for judge in point.eval}),
        curve=curve,
        samples=samples_of(name, record.samples),
        config="".join(line for line in text.splitlines(keepends=True) if not line.startswith("#")),
        provenance={key: str(value) for key, value in record.provenance.items() if isinstance(value, str | int)},
    )


def curve_of(record: RunRecord) -> list[Point]:
    """Epoch by epoch what training and evaluations measured; 0 is the pretrained model."""
    trained = {int(row["epoch"]): row for row in record.epochs}
    judged = {int(row["epoch"]): row for row in record.evaluated}
    points = []
    for epoch in sorted({*trained, *judged}):
        row, evaluation = trained.get(epoch, {}), judged.get(epoch, {})
        kl = evaluation.get("eval/kl_reference_nats", row.get("kl_reference_nats"))
        points.append(
            Point(epoch, finite(row.get("reward_mean")), finite(row.get("reward_std")), finite(kl), scores(evaluation))
        )
    return points


def scores(row: dict[str, Any]) -> dict[str, float | None]:
    """What every judge said in an evaluation."""
    found = {match[1]: finite(value) for key, value in row.items() if (match := JUDGE.fullmatch(key))}
    return {judge: score for judge, score in found.items() if judge not in NOT_JUDGES}


def samples_of(name: str, folder: Path) -> Samples | None:
    """The grids of a run; None where it has none, or they cannot be told apart."""
    epochs = sorted(
        (int(match[1]), path.name) for path in folder.glob("*.png") if (match := SAMPLES.fullmatch(path.name))
    )
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        width, height = map(int, index["tile"])
        columns, prompts = int(index["columns"]), list(map(str, index["prompts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    grids = [Grid(epoch, f"api/runs/{name}/samples/{file}") for epoch, file in epochs]
    return Samples(columns, (width, height), prompts, grids) if grids else None


def finite(value: Any) -> float | None:
    """A number for JSON, which knows neither NaN nor infinity."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
