"""One run as its folder tells it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpo_bench.run_folder.metrics import is_evaluation, read_rows
from ddpo_bench.run_folder.places import ResultsError, cell_of, seed_of
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


def read_run(folder: Path, setup: str = "") -> RunRecord:
    """One run folder; files that are not written yet read as empty."""
    status, config, known = read_status(folder), read_config(folder), read_provenance(folder)
    rows = read_rows(folder)
    return RunRecord(
        folder=folder,
        cell=cell_of(folder),
        algorithm=config.get("algorithm", {}).get("name", ""),
        reward=known.get("reward", config.get("reward", {}).get("name", "")),
        seed=config["seed"] if "seed" in config else seed_of(folder),
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


def labelled(name: str, options: dict[str, Any]) -> str:
    """A name and its telling options, the plugin's own without their prefix, another plugin's name as its kind."""
    shown = [f"{re.sub(r'^(algorithm|reward)[.]|[.]name$', '', key)}={value}" for key, value in options.items()]
    return " ".join([name, *shown])
