"""Time left of a sweep: the arithmetic, and what a watcher hears by a clock of the test's own."""

from __future__ import annotations

import pytest
from watching import Clock, run_of

from ddpo_bench.sweep.estimate import RunProgress, duration, makespan, seconds_left, size
from ddpo_bench.sweep.forecast import Forecast


def test_nothing_is_known_before_an_epoch_is_finished() -> None:
    assert seconds_left([RunProgress("ppo", 0, 4, seconds=9.0)], 1) is None


def test_a_run_takes_as_long_an_epoch_as_its_cell_did() -> None:
    done = [RunProgress("ppo", 4, 4, 40.0), RunProgress("ppo", 4, 4, 80.0), RunProgress("ppo", 4, 4, 48.0)]
    assert seconds_left([*done, RunProgress("ppo", 1, 4, 12.0)], 1) == pytest.approx(3 * 12.0)


def test_a_cell_without_a_finished_epoch_is_as_quick_as_the_median_cell() -> None:
    known = [RunProgress("a", 2, 2, 2.0), RunProgress("b", 2, 2, 4.0), RunProgress("c", 2, 2, 60.0)]
    assert seconds_left([*known, RunProgress("d", 0, 5)], 1) == pytest.approx(5 * 2.0)


def test_time_since_the_last_epoch_counts_but_never_below_nothing() -> None:
    done = RunProgress("ppo", 4, 4, 40.0)
    assert seconds_left([done, RunProgress("ppo", 3, 4, 30.0, since=4.0)], 1) == pytest.approx(6.0)
    assert seconds_left([done, RunProgress("ppo", 3, 4, 30.0, since=400.0)], 1) == 0.0


@pytest.mark.parametrize(
    ("loads", "workers", "seconds"),
    [([3, 3, 3], 1, 9), ([3, 3, 3], 2, 6), ([5, 1, 1, 1], 2, 5), ([4], 3, 4), ([], 2, 0)],
)
def test_each_load_goes_to_the_worker_that_is_free_first(loads: list[float], workers: int, seconds: float) -> None:
    assert makespan(loads, workers) == seconds


def test_a_forecast_goes_by_the_pace_so_far_and_falls_with_the_clock_between_epochs() -> None:
    clock = Clock()
    first, second = run_of("ppo", 0), run_of("ppo", 1)
    forecast = Forecast([first, second], clock)
    forecast.started(first)
    assert forecast.seconds_left() is None
    clock.now += 10
    forecast.row(first, {"epoch": 1, "queries": 128})
    assert forecast.seconds_left() == pytest.approx(7 * 10)  # one worker does both
    clock.now += 4
    assert forecast.seconds_left() == pytest.approx(7 * 10 - 4)
    forecast.started(second)
    clock.now += 6
    forecast.row(first, {"epoch": 2, "queries": 256})
    forecast.row(second, {"epoch": 1, "queries": 128})
    assert forecast.seconds_left() == pytest.approx(5 * 20 / 3)


def test_a_resumed_run_counts_from_its_checkpoint_and_is_not_taken_for_a_quick_one() -> None:
    clock = Clock()
    run = run_of("ppo", 0, epochs=10)
    forecast = Forecast([run], clock)
    forecast.started(run)
    forecast.row(run, {"epoch": 8, "sampled": 64})
    clock.now += 5
    forecast.row(run, {"epoch": 8, "queries": 1024})  # its first epoch here: the seven before were another day's
    assert forecast.seconds_left() == pytest.approx(2 * 5)


def test_a_killed_run_waits_with_what_it_has_done_and_a_failed_one_is_over() -> None:
    clock = Clock()
    killed, failed = run_of("ppo", 0), run_of("ppo", 1)
    forecast = Forecast([killed, failed], clock)
    for run in (killed, failed):
        forecast.started(run)
    clock.now += 10
    forecast.row(killed, {"epoch": 1, "queries": 128})
    forecast.ended(failed, "failed")
    forecast.ended(killed, "killed")
    assert forecast.seconds_left() == pytest.approx(30)
    forecast.ended(killed, "done")
    assert forecast.seconds_left() == 0


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
