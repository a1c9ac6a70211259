"""Nearly all of an epoch's CPU seconds are the network's: docs/performance.md has the shares."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest
import yaml

from ddpo_bench.config import run_config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import epoch_share  # noqa: E402

EXPECTED = 0.9  # of the embedded model on a quiet machine
TOLERANCE = 0.05  # caches shared with other work move the seconds of memory-bound parts more than those of the network


@pytest.mark.long
def test_the_network_takes_most_of_an_epoch_of_the_default_suite() -> None:
    suite = yaml.safe_load((ROOT / "suites" / "algos.yaml").read_text())
    (ppo,) = [chosen for chosen in suite["matrix"]["algorithm"] if isinstance(chosen, dict) and chosen["name"] == "ppo"]
    setup = {key: value for key, value in suite["matrix"]["setup"][0].items() if key != "label"}
    config = run_config(suite["base"] | setup | {"algorithm": ppo, "epochs": 3}, "algos.yaml")
    shares = [needed / epoch for needed, epoch in epoch_share.epoch_seconds(config)]
    assert statistics.median(shares) >= EXPECTED - TOLERANCE
