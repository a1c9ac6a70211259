"""What libraries say to programmers, kept from the terminal: warnings, logs, progress bars, lines of C code."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = ("accelerate", "diffusers", "huggingface_hub", "matplotlib", "peft", "PIL", "transformers")


def quieten_libraries() -> None:
    """Silence advice to programmers, in worker processes too; what the user's environment asks for is kept."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)


@contextmanager
def errors_into(log: Path, debug: bool) -> Iterator[None]:
    """Append to a file, meanwhile, what is written to standard error; with --debug it stays where it is."""
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
