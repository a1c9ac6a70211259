"""Reads a suite's results folder: one RunRecord a run, whatever became of it."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.analysis.short_numbers import shortened
from ddpo_bench.config import EXECUTION_KEYS
from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.run_folder.places import ResultsError, cell_of, nothing_in, run_folder, run_folders, seed_of
from ddpo_bench.run_folder.plan import planned_runs, read_plan
from ddpo_bench.run_folder.status import read_config, read_provenance, read_status

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run as its folder tells it.

    Attributes:
        folder: results/<suite>/runs/<cell>-<hash12>/seed-<k>.
        cell: the folder's name without its hash.
        algorithm: its name; empty where the run has not written its configuration.
        reward: the name by which metrics and tables know it, which says the options that are not the default.
        setup: the label of the suite's setup that the cell has; empty where it has none.
        varied: dotted key to value, of what else tells cells of this algorithm, or this reward, apart.
        status: queued, running, done, failed or killed; a folder that does not exist yet is queued.
        reason: why it failed.
        seconds: training seconds, summed over resumed sessions.
        overheads: those columns of status.json that say what of them went into starting, checkpoints and files.
        config, provenance: config.yaml and provenance.json.
        epochs: the rows of metrics.jsonl about training, one an epoch, keys as in docs/metrics.md.
        evaluated: those about evaluations, the pretrained model's first.
    """

    folder: Path
    cell: str
    algorithm: str
    reward: str
    seed: int
    status: str
    reason: str | None
    seconds: float
    config: dict[str, Any]
    provenance: dict[str, Any]
    epochs: list[dict[str, Any]]
    evaluated: list[dict[str, Any]]
    varied: dict[str, Any] = field(default_factory=dict)
    overheads: dict[str, float] = field(default_factory=dict)
    setup: str = ""

    @cached_property
    def curve(self) -> pd.DataFrame:
        """`epochs` as a frame; made when asked for, as a table of many runs needs none."""
        import pandas as pd

        return pd.DataFrame(self.epochs)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """`evaluated` as a frame."""
        import pandas as pd

        return pd.DataFrame(self.evaluated)

    @cached_property
    def label(self) -> str:
        """The setup, else the algorithm, with the options that tell it from others: "ppo clip_range=0.001"."""
        return labelled(
            self.setup or self.algorithm, {k: v for k, v in self.varied.items() if not k.startswith("reward.")}
        )

    @cached_property
    def task(self) -> str:
        """The reward, with the options that tell it from others of its name."""
        return labelled(self.reward, {k: v for k, v in self.varied.items() if k.startswith("reward.")})

    @property
    def evaluation_prompts(self) -> str:
        """`evaluation.prompts`; runs of versions that had no choice were evaluated on the prompts of training."""
        return str(self.config.get("evaluation", {}).get("prompts", "training"))

    @property
    def samples(self) -> Path:
        """The folder of the image grids."""
        return self.folder / "samples"

    @property
    def final(self) -> float:
        """The reward it was trained on, in the last evaluation.

        Raises:
            ResultsError: where the run did not measure it.
        """
        value = self.held_out(self.reward)
        if math.isnan(value):
            where = self.folder / "metrics.jsonl"
            raise ResultsError(
                f"{where}: the last evaluation holds no eval/{self.reward}. Delete {self.folder} and run again."
            )
        return value

    def held_out(self, measure: str, evaluation: int = -1) -> float:
        """`eval/<measure>` of an evaluation, 0 the pretrained model's and -1 the last; NaN where not measured."""
        value = self.evaluated[evaluation].get(f"eval/{measure}") if self.evaluated else None
        return math.nan if value is None else float(value)


def collect(results: Path, planned: bool = True) -> list[RunRecord]:
    """All runs of results/<suite>, in the order of its plan.

    With a suite.yaml the plan decides: planned runs that have no folder yet are records too (queued), and folders of
    an earlier plan, or of the trials of a tuning, are left out.  Without one, all folders are read, by name.

    Args:
        planned: False reads all folders in any case.

    Raises:
        ResultsError: where there are no runs.
        Damaged, ConfigError: where a file is damaged.
    """
    plan = read_plan(results)
    folders = planned_folders(results, plan) if planned else []
    folders = folders or run_folders(results)
    if not any(folder.is_dir() for folder in folders):
        raise ResultsError(nothing_in(results))
    setups = {home_of(cell): cell.get("label", "") for cell in plan.get("cells", [])}
    return tell_apart([read_run(folder, setups.get(folder.parent.name, "")) for folder in folders])


def planned_folders(results: Path, plan: dict[str, Any]) -> list[Path]:
    """The run folders of a plan, the seeds of a cell together."""
    order = [home_of(cell) for cell in plan.get("cells", [])]
    return sorted((results / folder for folder in planned_runs(plan)), key=lambda run: order.index(run.parent.name))


def home_of(cell: dict[str, Any]) -> str:
    """The name of the folder that holds the seeds of a planned cell."""
    return run_folder(cell["name"], cell["hash"], 0).parent.name


def read_run(folder: Path, setup: str = "") -> RunRecord:
    """One run folder; files that are not written yet read as empty."""
    status, config, known = read_status(folder), read_config(folder), read_provenance(folder)
    rows = read_rows(folder)
    return RunRecord(
        folder=folder,
        cell=cell_of(folder),
        algorithm=config.get("algorithm", {}).get("name", ""),
        reward=known.get("reward", config.get("reward", {}).get("name", "")),
        seed=seed_of(folder),
        status=status["state"],
        reason=status.get("reason"),
        seconds=float(status.get("seconds") or 0.0),
        config=config,
        provenance=known,
        epochs=[row for row in rows if not is_evaluation(row)],
        evaluated=[row for row in rows if is_evaluation(row)],
        overheads={key: float(value) for key, value in status.items() if key.startswith("seconds_")},
        setup=setup,
    )


def tell_apart(records: list[RunRecord]) -> list[RunRecord]:
    """The records with `varied` filled in: the keys that differ between cells of the same algorithm, or setup, and
    reward."""
    flats = [flatten(record.config) for record in records]
    homes: dict[str, set[str]] = defaultdict(set)
    for record, flat in zip(records, flats, strict=True):
        homes[str(flat)].add(record.folder.parent.name)
    for record, flat in zip(records, flats, strict=True):
        if len(homes[str(flat)]) > 1:  # the same settings under other versions of a plugin are other cells
            flat["cell"] = record.folder.parent.name[-12:]
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record, flat in zip(records, flats, strict=True):
        pairs[record.setup or record.algorithm, record.reward].append(flat)
    telling: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (algorithm, reward), group in pairs.items():
        for key in telling_keys(group):
            telling[("reward", reward) if key.startswith("reward.") else ("algorithm", algorithm)].add(key)
    varied = [
        {
            key: flat.get(key)
            for key in sorted(telling["algorithm", record.setup or record.algorithm] | telling["reward", record.reward])
        }
        for record, flat in zip(records, flats, strict=True)
    ]
    return [replace(record, varied=keys) for record, keys in zip(records, shortened(varied), strict=True)]


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, without the keys that do not change what a run computes."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in EXECUTION_KEYS:
            continue
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def differing_keys(flats: list[dict[str, Any]]) -> set[str]:
    """Dotted keys whose value, or absence, is not the same in all."""
    first, *others = flats
    return {key for key in set().union(*flats) if any(other.get(key) != first.get(key) for other in others)}


def telling_keys(flats: list[dict[str, Any]]) -> set[str]:
    """Those of the differing keys that do not follow from another: a plugin's name tells its default options too."""
    differing = differing_keys(flats)
    return {key for key in differing if not follows(key, f"{key.rpartition('.')[0]}.name", differing, flats)}


def follows(key: str, name: str, differing: set[str], flats: list[dict[str, Any]]) -> bool:
    """Whether a plugin of each name has one value of an option alone."""
    if name == key or name not in differing:
        return False
    values: dict[Any, set[str]] = defaultdict(set)
    for flat in flats:
        values[flat.get(name)].add(str(flat.get(key)))
    return all(len(found) == 1 for found in values.values())


def labelled(name: str, options: dict[str, Any]) -> str:
    """A name and its telling options, the plugin's own without their prefix, another plugin's name as its kind."""
    shown = [f"{re.sub(r'^(algorithm|reward)[.]|[.]name$', '', key)}={value}" for key, value in options.items()]
    return " ".join([name, *shown])
