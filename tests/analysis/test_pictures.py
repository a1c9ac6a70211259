from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate_run
from matplotlib.figure import Figure
from PIL import Image

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.plots.curves import KL, draw_curves, draw_ends
from ddpo_bench.analysis.plots.image_grid import (
    GAP,
    TILE,
    before_after,
    filmed,
    illustrated,
    one_seed,
    prompts_of,
    spread_evenly,
    through_training,
    tiles,
)
from ddpo_bench.analysis.plots.shared import COLOURS, appearance, legend_below
from ddpo_bench.run_folder.places import ResultsError


def places_of(tile: Image.Image, grid: np.ndarray) -> set[tuple[int, int]]:
    """Where a grid shows a tile pixel for pixel: the upper left corners, (y, x)."""
    wanted = np.asarray(tile)
    corners = np.argwhere((grid[: 1 - TILE, : 1 - TILE] == wanted[0, 0]).all(axis=-1))
    return {(int(y), int(x)) for y, x in corners if np.array_equal(grid[y : y + TILE, x : x + TILE], wanted)}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_grid_shows_the_first_tiles_before_and_after(suite: Path, tmp_path: Path) -> None:
    records = collect(suite)
    before_after(records, tmp_path / "grid.png")
    grid = read(tmp_path / "grid.png")
    first, second, *_ = tiles(illustrated(records)[0], min)
    places = places_of(first, grid)
    assert len(places) == 2  # the pretrained row of each reward's block, and no other
    assert places_of(second, grid) == {(y, x + TILE + GAP) for y, x in places}


def test_the_grid_takes_the_lowest_seed_that_most_cells_have(suite: Path) -> None:
    records = [r for r in illustrated(collect(suite)) if r.task == "target_colour"]
    assert {record.seed for record in one_seed(records)} == {0}
    without_first = [r for r in records if not (r.algorithm == "ppo" and r.seed == 0)]
    assert {(record.algorithm, record.seed) for record in one_seed(without_first)} == {("ppo", 1), ("trpo_penalty", 1)}


def test_a_missing_grid_is_named(suite: Path, tmp_path: Path) -> None:
    for path in suite.glob("runs/ppo-*/seed-0/samples/*.png"):
        path.unlink()
    with pytest.raises(ResultsError, match="holds no epoch"):
        before_after(collect(suite), tmp_path / "grid.png")


def film(suite: Path, *epochs: int) -> None:
    """Give every run a grid of a colour of its own at some epochs."""
    for folder in suite.glob("runs/*/*/samples"):
        for epoch in epochs:
            Image.new("RGB", (8 * 64, 2 * 64), (epoch, 0, 0)).save(folder / f"epoch-{epoch:04d}.png")


def test_the_film_shows_one_prompt_at_every_evaluation(suite: Path, tmp_path: Path) -> None:
    assert not filmed(collect(suite))  # before and after alone are no film
    film(suite, 0, 2, 4, 6)
    through_training(filmed(collect(suite)), tmp_path / "film.png")
    shown = read(tmp_path / "film.png")
    assert shown.shape[1] > 5 * (TILE + GAP)  # the title is wider than the four pictures
    first = min(places_of(Image.new("RGB", (TILE, TILE), (0, 0, 0)), shown))
    for i, epoch in enumerate((0, 2, 4, 6)):
        place = first[0], first[1] + i * (TILE + GAP)
        assert place in places_of(Image.new("RGB", (TILE, TILE), (epoch, 0, 0)), shown)


def test_a_long_film_is_thinned_but_keeps_its_ends() -> None:
    assert spread_evenly([0, 5, 10], 8) == [0, 5, 10]
    thinned = spread_evenly(list(range(0, 101, 5)), 8)
    assert (len(set(thinned)), thinned[0], thinned[-1]) == (8, 0, 100)
    assert thinned == sorted(thinned)


@pytest.mark.parametrize("spent", ["queries", KL])
def test_curves_are_the_epochs_of_the_seeds_and_their_average(suite: Path, spent: str) -> None:
    records = collect(suite)
    runs = [record for record in records if record.algorithm == "ppo" and record.task == "target_colour"]
    axes = Figure().subplots()
    draw_curves(axes, runs, spent, appearance(records, "ppo"))
    *seeds, average = axes.lines
    for line, run in zip(seeds, runs, strict=True):
        assert np.array_equal(line.get_xydata(), run.curve[[spent, "reward_mean"]])
    assert average.get_xydata() == pytest.approx(np.mean([line.get_xydata() for line in seeds], axis=0))
    for run in runs:
        del run.curve[spent]
    draw_curves(axes, runs, spent, appearance(records, "ppo"))  # an older version did not measure it
    assert len(axes.lines) == 4


def test_the_frontier_ends_at_the_held_out_evaluation(suite: Path) -> None:
    runs = [record for record in collect(suite) if record.algorithm == "ppo" and record.task == "target_colour"]
    axes = Figure().subplots()
    draw_ends(axes, runs, appearance(runs, "ppo"))
    small, large = axes.collections
    ends = [(run.held_out(KL), run.final) for run in runs]
    assert np.asarray(small.get_offsets()) == pytest.approx(np.array(ends))
    assert np.asarray(large.get_offsets()) == pytest.approx(np.mean(ends, axis=0)[None])


def test_prompts_fit_over_their_column(suite: Path) -> None:
    run = illustrated(collect(suite))[0]
    text = "a very long prompt about three frogs and two lions on a blue striped background with some apples and a car"
    (run.samples / "index.json").write_text(json.dumps({"prompts": [text, "a dog"]}))
    long, short = prompts_of(run)
    assert long.count("\n") == 3
    assert long.endswith("…")
    assert short == "a dog"


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
