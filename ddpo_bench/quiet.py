"""Keep what libraries say to programmers off the terminal: warnings, logs, progress bars, output of C code."""

from __future__ import annotations

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
