"""Metrics to W&B or TensorBoard, beside metrics.jsonl."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ddpo_bench.config import RunConfig


class MissingExtra(RuntimeError):
    """A logger whose package is not installed."""


class NoLogger:
    """Writes nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Take one row of metrics.jsonl."""

    def close(self) -> None:
        """Flush."""


class WandbLogger(NoLogger):
    """Weights & Biases; WANDB_MODE=offline works."""

    def __init__(self, config: RunConfig, folder: Path):
        wandb = import_extra("wandb", "wandb")
        name = f"{folder.parent.name}/{folder.name}"
        self.run = wandb.init(project="ddpo-bench", dir=str(folder), name=name, config=config.to_dict(), resume="allow")

    def log(self, row: dict[str, Any]) -> None:
        self.run.log({key: value for key, value in row.items() if key != "epoch"}, step=row["epoch"])

    def close(self) -> None:
        self.run.finish()


class TensorboardLogger(NoLogger):
    """TensorBoard event files under `tensorboard/` of the run."""

    def __init__(self, config: RunConfig, folder: Path):
        import_extra("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "epoch":
                self.writer.add_scalar(key, value, row["epoch"])

    def close(self) -> None:
        self.writer.close()


def make_logger(config: RunConfig, folder: Path) -> NoLogger:
    """The logger that the configuration names.

    Raises:
        MissingExtra: where its package is not installed.
    """
    if config.logger == "wandb":
        return WandbLogger(config, folder)
    return TensorboardLogger(config, folder) if config.logger == "tensorboard" else NoLogger()


def import_extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise MissingExtra(f"logger: {module} is not installed; run: pip install 'ddpo-bench[{extra}]'.") from None
