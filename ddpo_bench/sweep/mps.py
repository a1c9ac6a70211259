"""NVIDIA's Multi-Process Service, by which the work of several processes runs on one GPU at the same moment.

https://docs.nvidia.com/deploy/mps: without it, processes that share a GPU take turns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CONTROL = "nvidia-cuda-mps-control"
PATIENCE = 20.0  # seconds for its answer, and for its end
TURNS = "Runs share a GPU by time slices only"


class Sharing(NamedTuple):
    """How runs share a GPU.

    Attributes:
        how: a sentence for people.
        variables: that their processes need in their environment; empty where there is no MPS of ours, whose processes
            call the GPUs 0, 1, ... in the order of our CUDA_VISIBLE_DEVICES.
    """

    how: str
    variables: Mapping[str, str] = {}


@contextmanager
def sharing_gpus() -> Iterator[Sharing]:
    """MPS until the end of the block, where it is installed and not running already."""
    if shutil.which(CONTROL) is None:
        yield Sharing(f"{TURNS}: {CONTROL}, NVIDIA's MPS, is not in PATH.")
        return
    if control([], {}, "get_server_list") is None:
        yield Sharing("Runs share a GPU by the MPS that is already running.")
        return
    with tempfile.TemporaryDirectory(prefix="ddpo-bench-mps-") as folder:
        variables = {f"CUDA_MPS_{kind}_DIRECTORY": f"{folder}/{kind.lower()}" for kind in ("PIPE", "LOG")}
        for path in variables.values():
            Path(path).mkdir()
        if trouble := control(["-d"], variables):
            yield Sharing(f"{TURNS}: {CONTROL} -d: {trouble}.")
            return
        try:
            yield Sharing("Runs share a GPU by NVIDIA's MPS, which was started for them.", variables)
        finally:
            control([], variables, "quit")


def control(arguments: Sequence[str], variables: Mapping[str, str], command: str = "") -> str | None:
    """Start MPS, or command the one that the variables lead to; returns what is wrong, None where nothing is.

    In a session of its own, so that Ctrl-C in the terminal does not end what it starts.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:  # a pipe would be open for as long as a daemon
        try:
            done = subprocess.run(
                [CONTROL, *arguments], input=f"{command}\n", text=True, timeout=PATIENCE, stdout=said,
                stderr=subprocess.STDOUT, env=os.environ | variables, start_new_session=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return " ".join(str(error).split())
        said.seek(0)
        return None if done.returncode == 0 else " ".join(said.read().split()) or f"exit code {done.returncode}"
