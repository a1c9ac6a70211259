"""`ddpo-bench serve` as a user starts it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """The address of `ddpo-bench serve ARGUMENTS` on a free port, in a process that ends with the block."""
    command = [sys.executable, "-m", "ddpo_bench", "serve", *map(str, arguments), "--port", "0"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=one_thread
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"http://\S+", line):
                    yield found[0]
                    break
            else:
                pytest.fail(f"the server printed no address:\n{''.join(lines)}")
        finally:
            process.terminate()
            process.wait(timeout=20)
