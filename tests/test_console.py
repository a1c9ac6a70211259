"""What the user sees while runs train: the curve in block characters, and the display at several widths."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from watching import Clock, run_of

from ddpo_bench.console import CURVE, LiveDisplay, PlainLines, sparkline
from ddpo_bench.sweep.progress import Progress

LONG = "policy_gradient-jpeg_incompressibility-with-a-name-that-no-terminal-is-wide-enough-for"
RUNS = [run_of("ppo-jpeg", 0), run_of(LONG, 0), run_of("trpo_penalty-jpeg", 0), run_of("trpo_penalty-jpeg", 1)]


def epoch(number: int, reward: float) -> dict[str, Any]:
    return {"epoch": number, "queries": 128 * number, "reward_mean": reward, "images_per_second": 12.34}


def shown(width: int) -> list[str]:
    """The lines of a display half-way through a sweep."""
    console = Console(record=True, width=width, force_terminal=True, file=io.StringIO())
    clock = Clock()
    display = LiveDisplay(Progress(RUNS, 3, clock), console)
    for run in RUNS[:3]:
        display.started(run, "here:1")
    display.row(RUNS[0], {"epoch": 1, "sampled": 64})
    for number, reward in enumerate([-2.5, -2.25, -1.5], 1):
        clock.now += 30
        display.row(RUNS[1], epoch(number, reward))
    display.ended(RUNS[2], "failed", "ValueError: NaN")
    console.print(display)
    return console.export_text().splitlines()


def line_with(text: str, lines: list[str]) -> str:
    (found,) = [line for line in lines if text in line]
    return found


@pytest.mark.parametrize("width", [60, 100, 160])
def test_every_line_fits_and_a_run_is_one_line(width: int) -> None:
    message, *lines = shown(width)
    assert "trpo_penalty-jpeg/seed-0: failed: ValueError" in message
    assert all(len(line) <= width for line in lines)
    assert len([line for line in lines if line.strip()]) == 2 + 2  # counts, bar, two runs


@pytest.mark.parametrize("width", [60, 100, 160])
def test_what_matters_most_is_readable_at_every_width(width: int) -> None:
    lines = shown(width)
    assert "3/7 runs done, 1 failed, 2 running, 1 left" in lines[1]
    assert "12.3 images/s" in lines[2]
    assert "time left" in lines[2]
    run = line_with("policy_gradient", lines)
    for part in ("3/4", "▁▃█", "-1.5", "12.3/s"):
        assert part in run
    assert ("…" in run) == (width < 120)


@pytest.mark.parametrize(("width", "told"), [(60, False), (100, True)])
def test_what_a_run_is_doing_is_told_where_there_is_room(width: int, told: bool) -> None:
    assert ("64/128 sampled" in line_with("ppo-jpeg", shown(width))) == told


def test_a_heartbeat_older_than_the_last_row_is_not_news() -> None:
    display = LiveDisplay(Progress(RUNS), Console(file=io.StringIO()))
    display.started(RUNS[0], "here:1")
    display.row(RUNS[0], epoch(2, -1.0))
    display.row(RUNS[0], {"epoch": 2, "sampled": 64})
    assert display.lines[RUNS[0].folder].doing == ""
    display.row(RUNS[0], {"epoch": 3, "sampled": 128})
    assert display.lines[RUNS[0].folder].doing == "learning"


def test_a_resumed_run_shows_how_far_it_was() -> None:
    display = LiveDisplay(Progress(RUNS), Console(file=io.StringIO()))
    display.started(RUNS[0], "here:1")
    display.row(RUNS[0], {"epoch": 3, "sampled": 64})
    assert display.lines[RUNS[0].folder].epoch == 2


def test_a_killed_run_can_start_again() -> None:
    display = LiveDisplay(Progress(RUNS), Console(file=io.StringIO()))
    for _ in range(2):
        display.started(RUNS[0], "here:1")
        display.row(RUNS[0], epoch(1, -1.0))
        display.ended(RUNS[0], "killed", "its worker died")
    assert display.lines == {}
    assert display.progress.with_running(0) == "0/4 runs done, 0 running, 4 left"


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([], ""),
        ([-7.0], "▅"),
        ([2.0, 2.0], "▅▅"),
        ([-1.0, 0.0, 1.0], "▁▅█"),
        ([float(k) for k in range(8)], "▁▂▃▄▅▆▇█"),
        ([1e6, 1e6 + 1], "▁█"),
    ],
)
def test_a_curve_goes_from_the_runs_lowest_reward_to_its_highest(values: list[float], curve: str) -> None:
    assert sparkline(values, CURVE) == curve


@pytest.mark.parametrize("count", [9, 24, 25, 1000])
def test_a_long_curve_is_shortened_and_keeps_its_shape(count: int) -> None:
    curve = sparkline([float(k) for k in range(count)], 8)
    assert len(curve) == 8
    assert curve == "".join(sorted(curve))
    assert (curve[0], curve[-1]) == ("▁", "█")


def test_plain_lines_are_as_before_with_the_time_left_at_a_runs_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = PlainLines(Progress(RUNS[:2], clock=clock))
    plain.started(RUNS[0], "here:1")
    for number in (1, 2, 3, 4):
        clock.now += 30
        plain.row(RUNS[0], epoch(number, -1.0))
    plain.ended(RUNS[0], "done", None)
    plain.ended(RUNS[1], "done", None)
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]  # without the time of day
    assert lines[0] == "ppo-jpeg/seed-0: started by here:1"
    assert lines[4] == "ppo-jpeg/seed-0: epoch 4/4, reward -1, 12.3 images/s"
    assert lines[5] == "ppo-jpeg/seed-0: done (1/2 runs done, about 2 min left)"
    assert lines[6].endswith("done (2/2 runs done)")


def test_what_is_wrong_with_a_run_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(record=True, width=200, force_terminal=True, file=io.StringIO())
    live = LiveDisplay(Progress(RUNS), console)
    for display in (live, PlainLines(Progress(RUNS), foresees=False)):
        for run in RUNS[:2]:
            display.started(run, "here:1")
            display.row(run, {"epoch": 0, "eval/diversity": 0.1, "prompts_truncated": 3 if run is RUNS[1] else 0})
            for number in (1, 2):
                spread, cut = (0.0, 0) if run is RUNS[0] else (0.9, 9)
                row = {"advantage_std": spread, "prompts_truncated": cut, "grad_rms": 0.0 if run is RUNS[0] else 5e-8}
                display.row(run, epoch(number, 0.5) | row)
    for told in (console.export_text(), capsys.readouterr().out):
        assert told.count("nothing to learn from") == 1
        assert "ppo-jpeg/seed-0: epoch 1 has nothing to learn from: all rewards that it compares are equal." in told
        assert told.count("not well above algorithm.adam_epsilon, 1e-08") == 1
        assert f"{RUNS[1].name}: the gradient's RMS, 5e-08, is not" in told
        assert told.count("longer than the text encoder's input") == 1
        assert f"{RUNS[1].name}: 3 of 64 prompts are longer than the text encoder's input" in told
