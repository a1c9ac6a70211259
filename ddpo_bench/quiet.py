"""Keep what libraries say to programmers off the terminal: warnings, logs, progress bars, output of C code."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {  # read by these libraries when they are imported
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # those of transformers too
    "TQDM_DISABLE": "1",
}
LIBRARIES = ("accelerate", "diffusers", "huggingface_hub", "matplotlib", "peft", "PIL", "transformers")


def quieten_libraries() -> None:
    """Silence libraries, in worker processes too; call it before importing them. The user's environment wins."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)


def silence_other_ranks() -> None:
    """Print nothing in a process that a launcher, such as torchrun, has started next to the first of this machine."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for good)


def log_other_ranks(path: Path) -> None:
    """Append to a file what a process prints from now on that `silence_other_ranks` may have silenced."""
    sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
    redirect_output(path)


def redirect_output(path: Path) -> None:
    """Send what libraries print, C ones too, to a file, so that it neither tears the display nor is lost in a crash."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            if isinstance(stream, io.TextIOWrapper):  # whose encoding was the terminal's
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()


@contextmanager
def errors_into(log: Path, debug: bool) -> Iterator[None]:
    """Append to `log` what is written to standard error inside the block; with --debug, leave it on the terminal."""
    if debug:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
