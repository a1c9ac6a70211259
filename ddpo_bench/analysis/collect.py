"""Reads a suite's results folder: one RunRecord a run, whatever became of it."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ddpo_bench.analysis.short_numbers import shortened
from ddpo_bench.checksummed import check_checksummed_yaml, check_crc32, read_checksummed_json
from ddpo_bench.config import EXECUTION_KEYS
from ddpo_bench.yaml_file import load_yaml, make_strict

if TYPE_CHECKING:
    import pandas as pd

CELL = re.compile(r"(?P<name>.+)-(?P<hash>[0-9a-f]{12})$")
SEED = re.compile(r"seed-(\d+)$")


class FastLoader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """YAML as `load_yaml` reads it, by libyaml where it is there."""


make_strict(FastLoader)


class ResultsError(Exception):
    """Results that are missing or cannot be read; the message is one line with the file and the remedy."""


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
        ResultsError, ConfigError, Damaged: where a file is damaged.
    """
    plan = read_plan(results)
    folders = planned_folders(results, plan) if planned else []
    folders = folders or sorted(results.glob("runs/*/seed-*"), key=natural_key)
    folders = [folder for folder in folders if SEED.match(folder.name)]
    if not any(folder.is_dir() for folder in folders):
        raise ResultsError(nothing_in(results))
    setups = {folder_name(cell): cell.get("label", "") for cell in plan.get("cells", [])}
    return tell_apart([read_run(folder, setups.get(folder.parent.name, "")) for folder in folders])


def read_plan(results: Path) -> dict[str, Any]:
    """suite.yaml; empty without that file."""
    if not (results / "suite.yaml").exists():
        return {}
    check_checksummed_yaml(results / "suite.yaml", f"Give ddpo-bench run {results.name} again, which writes it anew.")
    return load_yaml(results / "suite.yaml")


def planned_folders(results: Path, plan: dict[str, Any]) -> list[Path]:
    """Run folders of the cells and seeds of a plan."""
    cells = [folder_name(cell) for cell in plan.get("cells", [])]
    return [results / "runs" / cell / f"seed-{seed}" for cell in cells for seed in plan.get("seeds", [])]


def folder_name(cell: dict[str, Any]) -> str:
    return f"{cell['name']}-{cell['hash']}"


def natural_key(folder: Path) -> tuple[str, int, str]:
    """Sorts seed-2 before seed-10."""
    return folder.parent.name, len(folder.name), folder.name


def nothing_in(results: Path) -> str:
    """One line on a folder without runs, with the nearest folder that has some."""
    if any(results.glob("runs/*/seed-*")):
        return f"{results}: none of the runs that are to be compared has begun; see ddpo-bench status {results}."
    what = "holds no runs" if results.is_dir() else "no such folder"
    near = sorted({runs.parent for place in (results, results.parent) for runs in place.glob("*/runs")})
    names = difflib.get_close_matches(results.name, [path.name for path in near], n=1) or [path.name for path in near]
    hint = next(
        (f" Did you mean {path}?" for path in near if path.name == names[0]), " Make some: ddpo-bench run SUITE."
    )
    return f"{results}: {what}.{hint}"


def read_run(folder: Path, setup: str = "") -> RunRecord:
    """One run folder; files that are not written yet read as empty."""
    match = CELL.match(folder.parent.name)
    again = f"Delete {folder} and run it again."
    status = read_json(folder / "status.json", again)
    config = read_config(folder / "config.yaml", again) if (folder / "config.yaml").exists() else {}
    check_crc32(folder / "metrics.jsonl", status.get("metrics_crc32"), again)
    rows = read_rows(folder / "metrics.jsonl")
    known = read_json(folder / "provenance.json", again)
    return RunRecord(
        folder=folder,
        cell=match["name"] if match else folder.parent.name,
        algorithm=config.get("algorithm", {}).get("name", ""),
        reward=known.get("reward", config.get("reward", {}).get("name", "")),
        seed=int(folder.name.removeprefix("seed-")),
        status=status.get("state", "queued"),
        reason=status.get("reason"),
        seconds=float(status.get("seconds") or 0.0),
        config=config,
        provenance=known,
        epochs=[row for row in rows if "queries" in row],
        evaluated=[row for row in rows if "queries" not in row],
        overheads={key: float(value) for key, value in status.items() if key.startswith("seconds_")},
        setup=setup,
    )


def read_config(path: Path, remedy: str) -> dict[str, Any]:
    """A run's configuration, by libyaml where it is there: ten times as fast, on a thousand runs seconds.

    Raises:
        ConfigError: as `load_yaml`.
        Damaged: where its checksum differs.
    """
    check_checksummed_yaml(path, remedy)
    try:
        config = yaml.load(path.read_bytes(), FastLoader)
    except yaml.YAMLError:
        config = None
    return config if isinstance(config, dict) else load_yaml(path)  # which says what is wrong


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object, empty where the file does not exist."""
    return read_checksummed_json(path, remedy) if path.exists() else {}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a last line that a kill cut short, so without its newline, is skipped.

    Raises:
        ResultsError: for any other line that is not a JSON object, with its number.
    """
    if not path.exists():
        return []
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    return [parse_object(line, f"{path}, line {number}") for number, line in enumerate(whole_lines, start=1)]


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:  # not JSON, or not text
        raise ResultsError(f"{where}: not valid JSON. Delete the run's folder and run it again.") from None
    if not isinstance(value, dict):
        raise ResultsError(f"{where}: expected a JSON object, found {type(value).__name__}. Delete the run's folder.")
    return value


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
