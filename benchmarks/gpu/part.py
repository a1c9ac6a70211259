"""A part of `make gpu`: what it needs, how long it may take, and how it is run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 900  # limit of any part on a CPU, where sizes are small but nothing else is quick
POLL_SECONDS = 0.2
GRACE_SECONDS = 5  # for a part whose time is over to save what it has
OUTCOME = "outcome.json"
POLICY = (
    "torch",
    "diffusers",
    "importlib_metadata",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "yaml",
    "PIL",
)
SCIENCE = ("numpy", "scipy", "pandas", "matplotlib", "rich", "jinja2")
QUEUE = ("optuna", "sqlalchemy", "alembic", "mako", "colorlog")
PACKAGES = {"yaml": "pyyaml", "PIL": "pillow"}  # where a package has another name than its module


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        letter, name: what --parts calls it; `name` is its module in this package and its folder in the results.
        title: what it proves.
        seconds: its time limit on a GPU.
        needs: modules without which it cannot run.
    """

    letter: str
    name: str
    title: str
    seconds: int
    needs: tuple[str, ...]

    def limit(self, device: str) -> int:
        return CPU_SECONDS if device == "cpu" else self.seconds

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [PACKAGES.get(module, module) for module in self.needs if find_spec(module) is None]


PARTS = (
    Part("a", "parity", "kernel parity and promises to the bit", 90, (*POLICY, *SCIENCE, "triton", "pytest")),
    Part("b", "kernels", "speed of the kernels", 120, (*POLICY, *SCIENCE, "triton")),
    Part("c", "throughput", "throughput at the size of Stable Diffusion 1.5", 150, (*POLICY, *SCIENCE)),
    Part("d", "suite", "a suite of runs, a kill and a resume", 150, (*POLICY, *SCIENCE, *QUEUE)),
)


def select(wanted: str) -> list[Part]:
    """The parts of a comma-separated list of letters or names, in the order of PARTS.

    Raises:
        ValueError: naming what does not exist.
    """
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    known = {key: part for part in PARTS for key in (part.letter, part.name)}
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"--parts: unknown part {unknown[0]!r}. Known: {', '.join(known)}.")
    chosen = {known[word] for word in words}
    return [part for part in PARTS if part in chosen]


def environment(device: str) -> dict[str, str]:
    """Variables of a part: our packages without an installation, no network, and no GPU where none is asked for."""
    path = [str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]
    added = {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        "COLUMNS": "120",
    }
    return os.environ | added | ({"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if device == "cpu" else {})


def run(part: Part, device: str, folder: Path) -> tuple[str, float]:
    """Run a part in a process of its own, whose output also goes to log.txt in `folder`.

    Returns:
        What became of it ("passed" or another outcome of `wait`), and the seconds it took.
    """
    command = [sys.executable, "-m", f"benchmarks.gpu.{part.name}", "--device", device, "--out", str(folder)]
    start = time.monotonic()
    with (folder / "log.txt").open("wb") as log, (folder / "log.txt").open("rb") as shown:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(device), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            ended = wait(process, part.limit(device), shown)
        finally:
            end_group(process)
            show(shown)
    return ended, round(time.monotonic() - start, 1)


def wait(process: subprocess.Popen[bytes], seconds: float, shown: IO[bytes]) -> str:
    """Show the output until the process ends: "passed", "failed (exit code ...)" or "out of time"."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        show(shown)
        try:
            code = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return "passed" if code == 0 else f"failed (exit code {code})"
    return "out of time"


def show(shown: IO[bytes]) -> None:
    print(shown.read().decode(errors="replace"), end="", flush=True)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a part and all processes that it started, politely at first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_SECONDS
        left = signalled(process, number)
        while left and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            left = signalled(process, 0)
        if not left:
            return


def signalled(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a process and all that it started; False where none of them is left."""
    process.poll()
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True
