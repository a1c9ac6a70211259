"""Time left of a sweep: the arithmetic, and what a watcher hears by a clock of the test's own."""

from __future__ import annotations

import pytest
from watching import Clock, run_of

from ddpo_bench.sweep.estimate import RunProgress, duration, makespan, seconds_left, size
from ddpo_bench.sweep.progress import Progress

DONE = [RunProgress("ppo", 4, 4, 40.0), RunProgress("ppo", 4, 4, 80.0), RunProgress("ppo", 4, 4, 48.0)]


@pytest.mark.parametrize(
    ("runs", "seconds"),
    [
        ([RunProgress("ppo", 0, 4, seconds=9.0)], None),  # before an epoch is finished
        ([*DONE, RunProgress("ppo", 1, 4, 12.0)], 3 * 12.0),  # the median epoch of the cell
        ([*DONE, RunProgress("a", 2, 2, 2.0), RunProgress("b", 2, 2, 60.0), RunProgress("c", 0, 5)], 5 * 12.0),
        ([*DONE, RunProgress("ppo", 3, 4, 36.0, since=4.0)], 12.0 - 4.0),
        ([*DONE, RunProgress("ppo", 3, 4, 36.0, since=400.0)], 0.0),
    ],
)
def test_a_run_takes_as_long_an_epoch_as_its_cell_or_the_median_cell_did(
    runs: list[RunProgress], seconds: float | None
) -> None:
    assert seconds_left(runs, 1) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("loads", "workers", "seconds"),
    [([3, 3, 3], 1, 9), ([3, 3, 3], 2, 6), ([5, 1, 1, 1], 2, 5), ([4], 3, 4), ([], 2, 0)],
)
def test_each_load_goes_to_the_worker_that_is_free_first(loads: list[float], workers: int, seconds: float) -> None:
    assert makespan(loads, workers) == seconds


def test_a_forecast_goes_by_the_pace_so_far_and_falls_with_the_clock_between_epochs() -> None:
    clock = Clock()
    first, second = run_of("ppo", 0), run_of("ppo", 1)
    progress = Progress([first, second], clock=clock)
    progress.started(first)
    assert progress.seconds_left() is None
    clock.now += 10
    progress.row(first, {"epoch": 1, "queries": 128})
    assert progress.seconds_left() == pytest.approx(7 * 10)  # one worker does both
    clock.now += 4
    assert progress.seconds_left() == pytest.approx(7 * 10 - 4)
    progress.started(second)
    clock.now += 6
    progress.row(first, {"epoch": 2, "queries": 256})
    progress.row(second, {"epoch": 1, "queries": 128})
    assert progress.seconds_left() == pytest.approx(5 * 20 / 3)


def test_a_resumed_run_counts_from_its_checkpoint_and_is_not_taken_for_a_quick_one() -> None:
    clock = Clock()
    run = run_of("ppo", 0, epochs=10)
    progress = Progress([run], clock=clock)
    progress.started(run)
    progress.row(run, {"epoch": 8, "sampled": 64})
    clock.now += 5
    progress.row(run, {"epoch": 8, "queries": 1024})  # its first epoch here: the seven before were another day's
    assert progress.seconds_left() == pytest.approx(2 * 5)


def test_a_killed_run_waits_with_what_it_has_done_and_a_failed_one_is_over() -> None:
    clock = Clock()
    killed, failed = run_of("ppo", 0), run_of("ppo", 1)
    progress = Progress([killed, failed], clock=clock)
    for run in (killed, failed):
        progress.started(run)
    clock.now += 10
    progress.row(killed, {"epoch": 1, "queries": 128})
    progress.ended(failed, "failed")
    progress.ended(killed, "killed")
    assert progress.seconds_left() == pytest.approx(30)
    progress.ended(killed, "done")
    assert progress.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3569, "59 min"),
        (3590, "1 h"),
        (12000, "3 h 20 min"),
        (187000, "2 d 4 h"),
    ],
)
def test_durations_are_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(512, "512 B"), (999, "999 B"), (1500, "1.5 kB"), (31_900_000, "32 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_said_with_two_digits(count: float, text: str) -> None:
    assert size(count) == text
