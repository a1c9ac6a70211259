"""A worker process: trains the runs it is sent, one at a time, and says what became of each."""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from ddpo_bench.config import RunConfig
from ddpo_bench.files import write_text

Message = tuple[str, Any]  # ("row", metrics), ("done", None) or ("failed", reason)


def work(connection: Connection, environment: Mapping[str, str], train: str) -> None:
    """Train what comes through the pipe until it closes.

    Args:
        connection: receives (configuration, folder) or None for the end; sends Messages.
        environment: variables to set before torch is imported.
        train: "module:function" that trains one run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the parent decides
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.environ.update(environment)
    try:
        while task := connection.recv():
            config, folder = task
            connection.send(attempt(connection, config, folder, train))
    except (KeyboardInterrupt, EOFError):
        sys.exit(128 + signal.SIGTERM)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Signal handler that lets SIGTERM end training as Ctrl-C does."""
    raise KeyboardInterrupt


def die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def attempt(connection: Connection, config: RunConfig, folder: Path, train: str) -> Message:
    folder.mkdir(parents=True, exist_ok=True)
    redirect_output(folder / "output.log")
    try:
        resolve(train)(config, folder, lambda row: report(connection, row))
    except Exception as error:  # one run's failure, whatever it is, must not end the others
        write_text(folder / "error.log", traceback.format_exc())
        return "failed", reason(error)
    return "done", None


def report(connection: Connection, row: dict[str, Any]) -> None:
    try:
        connection.send(("row", row))
    except OSError:  # the parent is gone, which is no failure of the run
        os._exit(1)


def reason(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def resolve(dotted: str) -> Callable[..., None]:
    module, _, function = dotted.partition(":")
    return getattr(importlib.import_module(module), function)


def redirect_output(path: Path) -> None:
    """Send what libraries print, C ones too, to a file, so that it neither tears the display nor is lost in a crash."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
