"""Real results, tiny, and a real server of them in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import httpx
import pytest
from opened_pages import Open, chromium, opening
from server_process import serving

from ddpo_bench.sweep.plan import runs_of
from ddpo_bench.sweep.runner import work_on_suite
from ddpo_bench.sweep.suite import load_suite

# The learning rates are so high that one update of one epoch is seen in the pictures.
SUITE = """\
name: tiny
base:
  policy: {name: stable_diffusion, model: embedded}
  sampler: {name: ddim, steps: 4}
  prompts: {name: emoji_scenes}
  reward: {name: jpeg_compressibility}
  samples_per_epoch: 4
  micro_batch: 4
  epochs: 1
  evaluation: {samples: 2}
matrix:
  setup:
    - {label: full, policy.adapter: {name: full}, algorithm: {name: ppo, learning_rate: 1.0e-3}}
    - {label: lora, algorithm: {name: ppo, learning_rate: 1.0e-2}}
seeds: [0]
"""


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`results/tiny`: two runs of the embedded model, `full` and `lora`, each trained for one epoch."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiny.yaml").write_text(SUITE)
    suite = load_suite(folder / "tiny.yaml")
    root = folder / "results" / "tiny"
    work_on_suite(suite, runs_of(suite), root, lambda *_: nullcontext(MagicMock()))
    return root


@pytest.fixture(scope="session")
def server(results_folder: Path) -> Iterator[str]:
    """The address of a server of `results_folder`, with a slash at its end, that has imported all it needs."""
    with serving(results_folder) as address:
        while httpx.get(f"{address}healthz").json()["queue"]:
            time.sleep(0.1)
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; not for the whole session, since asyncio cannot run a loop while it is there."""
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Any, server: str) -> Iterator[Open]:
    """Opens a page of the server; at the end of the test no page may have complained."""
    with opening(browser, server) as open_page:
        yield open_page
