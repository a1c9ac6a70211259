"""Loggers that send metrics to W&B, trackio or TensorBoard in addition to metrics.jsonl."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import secrets
from pathlib import Path
from typing import Any

from ddpo_bench.config import RunConfig
from ddpo_bench.files import write_text

LOCAL_MODES = ("offline", "dryrun", "disabled")  # modes of W&B that need no account


class LoggerUnavailable(RuntimeError):
    """A logger's package is not installed, or it has no account to log to."""


class NoLogger:
    """Logs nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Log one row of metrics.jsonl."""

    def close(self) -> None:
        """Flush what was logged."""


class WandbLogger(NoLogger):
    """Logs to Weights & Biases, one run there for each run folder, which a resumed run continues."""

    def __init__(self, config: RunConfig, folder: Path):
        wandb = importlib.import_module("wandb")
        name = f"{folder.parent.name}/{folder.name}"
        self.run = wandb.init(
            project="ddpo-bench",
            dir=str(folder),
            name=name,
            id=wandb_id(folder),
            config=config.to_dict(),
            resume="allow",
        )

    def log(self, row: dict[str, Any]) -> None:
        values = {key: value for key, value in row.items() if key != "epoch"}
        if row["epoch"] < self.run.starting_step:  # an epoch that is repeated; W&B takes no second value for a step
            self.run.summary.update(values)
        else:
            self.run.log(values, step=row["epoch"])

    def close(self) -> None:
        self.run.finish()


def wandb_id(folder: Path) -> str:
    """The id at W&B of the run in this folder, generated on the first call."""
    path = folder / "wandb-id"
    if not path.exists():
        write_text(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8").strip()


class TrackioLogger(NoLogger):
    """Logs to trackio, one run there for each cell and seed, which a resumed run continues."""

    def __init__(self, config: RunConfig, folder: Path):
        trackio = importlib.import_module("trackio")
        name = f"{folder.parent.name}/{folder.name}"
        self.run = trackio.init(project="ddpo-bench", name=name, config=config.to_dict(), resume="allow")

    def log(self, row: dict[str, Any]) -> None:
        self.run.log({key: value for key, value in row.items() if key != "epoch"}, step=row["epoch"])

    def close(self) -> None:
        self.run.finish()


class TensorboardLogger(NoLogger):
    """Writes TensorBoard event files to `tensorboard/` in the run's folder."""

    def __init__(self, config: RunConfig, folder: Path, first_epoch: int):
        """Open the event files.

        Args:
            config: the configuration of the run.
            folder: the run's folder.
            first_epoch: the first epoch to be logged; rows that an interrupted session logged from it on are dropped.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)

    def log(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "epoch":
                self.writer.add_scalar(key, value, row["epoch"])

    def close(self) -> None:
        self.writer.close()


def make_logger(config: RunConfig, folder: Path, first_epoch: int = 0) -> NoLogger:
    """Make the logger that the configuration names.

    Args:
        config: the configuration of the run.
        folder: the run's folder.
        first_epoch: the first epoch to be logged: 0, or the one after the checkpoint.
    Raises:
        LoggerUnavailable: for the reasons of `logger_mistake`.
    """
    refuse_unavailable(config.logger)
    if config.logger == "wandb":
        return WandbLogger(config, folder)
    if config.logger == "trackio":
        return TrackioLogger(config, folder)
    return TensorboardLogger(config, folder, first_epoch) if config.logger == "tensorboard" else NoLogger()


def refuse_unavailable(logger: str | None) -> None:
    """Refuse, before any work, a logger that cannot log.

    Raises:
        LoggerUnavailable: for the reasons of `logger_mistake`.
    """
    if mistake := logger_mistake(logger):
        raise LoggerUnavailable(f"logger: {mistake}")


def logger_mistake(logger: str | None) -> str | None:
    """Why a logger cannot be used, and the remedy, in one line; None where it can."""
    if logger not in ("wandb", "trackio", "tensorboard"):
        return None
    if importlib.util.find_spec(logger) is None:
        return f"{logger} is not installed. Run: pip install 'ddpo-bench[{logger}]'."
    if logger == "wandb" and not has_account(importlib.import_module("wandb")):
        return "wandb: no API key. Run: wandb login, or set WANDB_API_KEY, or set WANDB_MODE=offline."
    return None


def has_account(wandb: Any) -> bool:
    """Whether W&B would log without asking for a key; its server is not contacted."""
    if os.environ.get("WANDB_MODE") in LOCAL_MODES or wandb.setup().settings.mode in LOCAL_MODES:
        return True
    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # in versions whose login always prompts
