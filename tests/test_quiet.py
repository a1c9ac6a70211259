"""What libraries say stays off the terminal, except with --debug."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ddpo_bench import cli

PROGRAM = """
import logging, os, sys, warnings
from pathlib import Path
from ddpo_bench.quiet import errors_into

with errors_into(Path("run", "output.log"), debug="--debug" in sys.argv):
    warnings.warn("a warning")
    logging.warning("a log")
    print("a bar", end="\\r", file=sys.stderr)
    os.write(2, b"a line of C\\n")
    print("our display")
print("our last line", file=sys.stderr)
"""
NOISE = ("a warning", "a log", "a bar", "a line of C")


@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_say_while_a_run_trains_goes_to_its_log(tmp_path: Path, debug: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, *["--debug"] * debug]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    log = tmp_path / "run" / "output.log"
    kept = log.read_text() if log.exists() else ""
    for line in NOISE:
        assert (line in done.stderr, line in kept) == (debug, not debug)
    assert done.stdout == "our display\n"
    assert done.stderr.endswith("our last line\n")


BARS = """
from ddpo_bench.quiet import quieten_libraries

quieten_libraries()
from huggingface_hub.utils import tqdm as hub_bar
from tqdm import tqdm

print(list(tqdm(range(3))), list(hub_bar(range(3))))
"""


def test_progress_bars_of_libraries_do_not_reach_the_terminal() -> None:
    command = [sys.executable, "-c", BARS]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[0, 1, 2] [0, 1, 2]\n", "")


@pytest.mark.parametrize("debug", [False, True])
def test_warnings_and_logs_of_libraries_are_silent_without_debug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("diffusers"), "level", logging.WARNING)
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setattr(cli, "call", lambda *args: warnings.warn("a warning", stacklevel=1) or 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert cli.main(["ls", *["--debug"] * debug]) == 0
    assert len(caught) == debug
    assert (logging.getLogger("diffusers").level == logging.WARNING) == debug
