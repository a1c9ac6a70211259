"""SIGHUP and SIGTERM end the program as Ctrl-C does, with or without a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddpo_bench.signals import ENDING, ending_as_ctrl_c

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys, time
from ddpo_bench import cli
from ddpo_bench.commands.command import Command
from ddpo_bench.signals import ending_as_ctrl_c

def execute(args):
    try:
        open("started", "w").close()
        while True:
            print("working", flush=True)
            time.sleep(0.01)
    finally:
        print("saving", flush=True)
        open("saved", "w").close()

with ending_as_ctrl_c():
    sys.exit(cli.call(Command("", "", None, execute, resumable=True), None, ["run", "algos"]))
"""


@pytest.mark.parametrize("number", sorted(ENDING))
def test_a_signal_that_ends_is_a_keyboard_interrupt_and_no_more_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ending_as_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_sighup_that_nohup_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_as_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_saves_the_state_and_ends_with_the_interrupts_exit_code(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: os.login_tty(os.dup(theirs)),
    )  # fmt: skip
    os.close(theirs)
    while b"working" not in os.read(ours, 1000):
        assert program.poll() is None
    os.close(ours)  # as the window of a terminal that is closed
    assert program.wait(60) == 130
    assert (tmp_path / "saved").exists()
