from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate_run
from PIL import Image

from ddpo_bench.analysis.collect import ResultsError, collect
from ddpo_bench.analysis.plots import COLOURS, appearance, learning_curves, reward_against_kl, spread
from ddpo_bench.analysis.strip import (
    GAP,
    LABEL_WIDTH,
    MARGIN,
    TILE,
    before_after,
    font,
    illustrated,
    label_width,
    one_seed,
    wrap,
)


@pytest.mark.parametrize("draw", [learning_curves, reward_against_kl, before_after])
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
    assert {(record.algorithm, record.seed) for record in one_seed(without_first)} == {("ppo", 1), ("trpo", 1)}


def test_a_missing_grid_is_named(suite: Path, tmp_path: Path) -> None:
    for path in suite.glob("runs/ppo-*/seed-0/samples/*.png"):
        path.unlink()
    with pytest.raises(ResultsError, match="holds no epoch"):
        before_after(collect(suite), tmp_path / "strip.png")


def test_captions_fit_their_column() -> None:
    text = "a very long prompt about three frogs and two lions on a blue striped background with some apples and a car"
    lines = wrap(text, font(11), TILE)
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert all(font(11).getlength(line.removesuffix(" …")) <= TILE for line in lines)


def test_long_labels_get_room() -> None:
    assert label_width(["ppo", "trpo"]) == LABEL_WIDTH
    long = "ppo policy.guidance_scale=1.0"
    assert font(13, bold=True).getlength(long.split()[1]) < label_width([long])


def test_an_algorithm_keeps_its_colour_and_its_variants_differ_by_line(tmp_path: Path) -> None:
    for clip_range in (1e-3, 5e-3):
        fabricate_run(tmp_path, "ppo", "target_colour", 0, clip_range=clip_range)
    looks = [appearance(collect(tmp_path), record.label) for record in collect(tmp_path)]
    assert {look.colour for look in looks} == {COLOURS["ppo"]}
    assert len({look.line for look in looks}) == 2


def test_labels_keep_their_order_and_distance() -> None:
    heights = [0.5, 0.1, 0.11, 0.105]
    moved = spread(heights, 0.1)
    assert np.array_equal(np.argsort(moved), np.argsort(heights))
    assert np.diff(np.sort(moved)).min() >= 0.1 - 1e-12
    assert spread([], 0.1) == []
