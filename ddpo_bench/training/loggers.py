"""Metrics to W&B or TensorBoard, beside metrics.jsonl."""

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

LOCAL_MODES = ("offline", "dryrun", "disabled")  # of W&B, which need no account


class LoggerUnavailable(RuntimeError):
    """A logger whose package is not installed, or that has no account to log to."""


class NoLogger:
    """Writes nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Take one row of metrics.jsonl."""

    def close(self) -> None:
        """Flush."""


class WandbLogger(NoLogger):
    """Weights & Biases; one run there for each run folder, however often it is interrupted."""

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
        if row["epoch"] < self.run.starting_step:  # an epoch done again; W&B takes no second value for a step
            self.run.summary.update(values)
        else:
            self.run.log(values, step=row["epoch"])

    def close(self) -> None:
        self.run.finish()


def wandb_id(folder: Path) -> str:
    """What W&B knows the run of this folder by; made when it is first asked for."""
    path = folder / "wandb-id"
    if not path.exists():
        write_text(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8").strip()


class TensorboardLogger(NoLogger):
    """TensorBoard event files under `tensorboard/` of the run."""

    def __init__(self, config: RunConfig, folder: Path, first_epoch: int):
        """first_epoch: that will be logged; what an interrupted session logged from there on is dropped."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)

    def log(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "epoch":
                self.writer.add_scalar(key, value, row["epoch"])

    def close(self) -> None:
        self.writer.close()


def make_logger(config: RunConfig, folder: Path, first_epoch: int = 0) -> NoLogger:
    """The logger that the configuration names.

    Args:
        first_epoch: whose rows are the first to be logged: 0, or the one after the checkpoint.
    Raises:
        LoggerUnavailable: as `logger_mistake` says.
    """
    refuse_unavailable(config.logger)
    if config.logger == "wandb":
        return WandbLogger(config, folder)
    return TensorboardLogger(config, folder, first_epoch) if config.logger == "tensorboard" else NoLogger()


def refuse_unavailable(logger: str | None) -> None:
    """Say before any work what would lose its metrics.

    Raises:
        LoggerUnavailable: as `logger_mistake` says.
    """
    if mistake := logger_mistake(logger):
        raise LoggerUnavailable(f"logger: {mistake}")


def logger_mistake(logger: str | None) -> str | None:
    """Why a logger cannot be used here, and the remedy, in one line; None where it can."""
    if logger not in ("wandb", "tensorboard"):
        return None
    if importlib.util.find_spec(logger) is None:
        return f"{logger} is not installed. Run: pip install 'ddpo-bench[{logger}]'."
    if logger == "wandb" and not has_account(importlib.import_module("wandb")):
        return "wandb: no API key. Run: wandb login, or set WANDB_API_KEY, or set WANDB_MODE=offline."
    return None


def has_account(wandb: Any) -> bool:
    """Whether W&B would log without asking for a key; nothing is asked of its server."""
    if os.environ.get("WANDB_MODE") in LOCAL_MODES or wandb.setup().settings.mode in LOCAL_MODES:
        return True
    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False, verify=False))
    return bool(wandb.api.api_key)  # of versions whose login always prompts
