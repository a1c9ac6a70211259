from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate_run
from matplotlib.figure import Figure
from PIL import Image

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.plots.frontier import draw_ends, draw_paths, frontier
from ddpo_bench.analysis.plots.image_grid import (
    GAP,
    LABEL_WIDTH,
    MARGIN,
    TILE,
    before_after,
    caption_lines,
    filmed,
    font,
    illustrated,
    label_width,
    one_seed,
    spread_evenly,
    through_training,
    wrap,
)
from ddpo_bench.analysis.plots.learning_curves import learning_curves, spread
from ddpo_bench.analysis.plots.shared import COLOURS, appearance, legend_below
from ddpo_bench.analysis.plots.time_profile import time_profile
from ddpo_bench.run_folder.places import ResultsError


@pytest.mark.parametrize("draw", [learning_curves, frontier, before_after, time_profile])
def test_pictures_are_the_same_bytes_each_time(suite: Path, draw, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("first.png", "second.png"):
        draw(collect(suite), tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_strip_shows_the_first_tiles_before_and_after(suite: Path, tmp_path: Path) -> None:
    records = collect(suite)
    before_after(records, tmp_path / "strip.png")
    strip = np.asarray(Image.open(tmp_path / "strip.png"))
    assert strip.shape[1] == 2 * MARGIN + LABEL_WIDTH + 8 * (TILE + GAP) - GAP
    run = illustrated(records)[0]
    wanted = (
        Image.open(run.samples / "epoch-0000.png").crop((0, 0, 64, 64)).resize((TILE, TILE), Image.Resampling.LANCZOS)
    )
    left = MARGIN + LABEL_WIDTH
    column = strip[:, left : left + TILE]
    tops = [y for y in range(len(strip) - TILE) if np.array_equal(column[y : y + TILE], np.asarray(wanted))]
    assert len(tops) == 2  # the pretrained row of each reward's block, and no other


def test_the_strip_takes_the_lowest_seed_that_most_cells_have(suite: Path) -> None:
    records = [r for r in illustrated(collect(suite)) if r.task == "target_colour"]
    assert {record.seed for record in one_seed(records)} == {0}
    without_first = [r for r in records if not (r.algorithm == "ppo" and r.seed == 0)]
    assert {(record.algorithm, record.seed) for record in one_seed(without_first)} == {("ppo", 1), ("trpo_penalty", 1)}


def test_a_missing_grid_is_named(suite: Path, tmp_path: Path) -> None:
    for path in suite.glob("runs/ppo-*/seed-0/samples/*.png"):
        path.unlink()
    with pytest.raises(ResultsError, match="holds no epoch"):
        before_after(collect(suite), tmp_path / "strip.png")


def film(suite: Path, *epochs: int) -> None:
    """Give every run a grid of a colour of its own at some epochs."""
    for folder in suite.glob("runs/*/*/samples"):
        for epoch in epochs:
            Image.new("RGB", (8 * 64, 2 * 64), (epoch, 0, 0)).save(folder / f"epoch-{epoch:04d}.png")


def test_the_film_shows_one_prompt_at_every_evaluation(suite: Path, tmp_path: Path) -> None:
    assert not filmed(collect(suite))  # before and after alone are no film
    film(suite, 0, 2, 4, 6)
    through_training(filmed(collect(suite)), tmp_path / "film.png")
    film_strip = np.asarray(Image.open(tmp_path / "film.png"))
    title = font(15, bold=True).getlength("jpeg_compressibility, seed 0: three frogs on a blue striped background")
    assert film_strip.shape[1] >= title + 2 * MARGIN  # wider than the four pictures
    columns = film_strip[:, MARGIN + LABEL_WIDTH :: TILE + GAP]  # the left edge of every tile
    reds = {tuple(int(red) for red in line[:4, 0]) for line in columns if line[:4, 1].max() == 0}
    assert (0, 2, 4, 6) in reds


def test_a_long_film_is_thinned_but_keeps_its_ends() -> None:
    assert spread_evenly([0, 5, 10], 8) == [0, 5, 10]
    thinned = spread_evenly(list(range(0, 101, 5)), 8)
    assert (len(set(thinned)), thinned[0], thinned[-1]) == (8, 0, 100)
    assert thinned == sorted(thinned)


def test_the_frontier_is_the_epochs_and_ends_at_the_held_out_evaluation(suite: Path) -> None:
    records = collect(suite)
    runs = [record for record in records if record.algorithm == "ppo" and record.task == "target_colour"]
    axes = Figure().subplots()
    draw_paths(axes, runs, appearance(records, "ppo"))
    *seeds, average = axes.lines
    for line, run in zip(seeds, runs, strict=True):
        assert np.array_equal(line.get_xydata(), run.curve[["kl_reference_nats", "reward_mean"]])
    assert average.get_xydata() == pytest.approx(np.mean([line.get_xydata() for line in seeds], axis=0))
    draw_ends(axes, runs, appearance(records, "ppo"))
    small, large = axes.collections
    assert np.asarray(small.get_offsets()) == pytest.approx(
        np.array([(run.held_out("kl_reference_nats"), run.final) for run in runs])
    )
    assert np.asarray(large.get_offsets()) == pytest.approx(np.mean(small.get_offsets(), axis=0)[None])


def test_runs_without_the_kl_of_their_epochs_have_points_alone(suite: Path) -> None:
    records = collect(suite)
    runs = [record for record in records if record.algorithm == "ppo"]
    for run in runs:
        del run.curve["kl_reference_nats"]
    axes = Figure().subplots()
    draw_paths(axes, runs, appearance(records, "ppo"))
    assert not axes.lines


def test_captions_take_as_many_lines_as_the_longest() -> None:
    assert caption_lines([]) == 0
    assert caption_lines(["a dog", "a cow"]) == 1
    assert caption_lines(["a dog", "three frogs on a blue striped background"]) == 3


def test_captions_fit_their_column() -> None:
    text = "a very long prompt about three frogs and two lions on a blue striped background with some apples and a car"
    lines = wrap(text, font(11), TILE)
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert all(font(11).getlength(line.removesuffix(" …")) <= TILE for line in lines)


def test_long_labels_get_room() -> None:
    assert label_width(["ppo", "trpo_penalty"]) == LABEL_WIDTH
    long = "ppo policy.guidance_scale=1.0"
    assert font(13, bold=True).getlength(long.split()[1]) < label_width([long])


def test_an_algorithm_keeps_its_colour_and_its_variants_differ_by_line_and_marker(tmp_path: Path) -> None:
    for clip_range in (1e-3, 5e-3):
        fabricate_run(tmp_path, "ppo", "target_colour", 0, clip_range=clip_range)
    looks = [appearance(collect(tmp_path), record.label) for record in collect(tmp_path)]
    assert {look.colour for look in looks} == {COLOURS["ppo"]}
    assert len({look.line for look in looks}) == len({look.marker for look in looks}) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["ppo", "trpo_penalty"],
        [f"ppo clip_range={i} learning_rate=0.0001" for i in range(9)],
        ["frozen", *(f"ppo advantages=batch clip_range=0.0{i} passes=2 learning_rate=0.0002" for i in range(3))],
    ],
)
def test_a_legend_lies_whole_within_its_figure(names: list[str]) -> None:
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    legend_below(figure, [axes.plot([0, 1])[0] for _ in names], names)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent().transformed(figure.transFigure.inverted())
    assert min(box.x0, box.y0) >= 0
    assert max(box.x1, box.y1) <= 1
    assert axes.get_window_extent().height > 0.6 * 3.3 * figure.dpi


def test_labels_keep_their_order_and_distance() -> None:
    heights = [0.5, 0.1, 0.11, 0.105]
    moved = spread(heights, 0.1)
    assert np.array_equal(np.argsort(moved), np.argsort(heights))
    assert np.diff(np.sort(moved)).min() >= 0.1 - 1e-12
    assert spread([], 0.1) == []
