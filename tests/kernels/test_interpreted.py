"""Runs the parity tests of the Triton kernels on a CPU, interpreted.

In two processes of their own: TRITON_INTERPRET must be set before triton is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent / "parity").glob("test_*.py"))


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.long)])
def test_interpreted_kernels_hold_their_promises(half: int) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *FILES[half::2]]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    report = found.stdout + found.stderr
    assert found.returncode == 0, report
    assert re.search(r"\b\d+ passed\b", found.stdout), report
    assert "skipped" not in found.stdout, report
