from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import EPOCHS, SECONDS

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.plots.time_profile import PARTS, parts_of, seconds_of, timed


def test_the_parts_are_the_epochs_together_and_the_rest_of_the_run(suite: Path) -> None:
    run = next(record for record in collect(suite) if record.seed == 2)  # 62 s
    measured = {part: EPOCHS * seconds for part, seconds in SECONDS.items()}
    assert parts_of(run) == pytest.approx(measured | {"evaluation and other": 62 - EPOCHS * 7.5})
    assert sum(parts_of(run).values()) == pytest.approx(run.seconds)


def test_a_cell_is_the_average_of_its_seeds(suite: Path) -> None:
    runs = [record for record in collect(suite) if record.algorithm == "ppo" and record.task == "target_colour"]
    seconds = seconds_of(runs)
    assert list(seconds) == list(PARTS)
    assert sum(seconds.values()) == pytest.approx(61)  # of 60, 61 and 62


def test_runs_that_did_not_measure_it_are_left_out(suite: Path) -> None:
    records = collect(suite)
    assert timed(records) == records
    del records[0].curve["seconds_sampling"]
    assert timed(records) == records[1:]
