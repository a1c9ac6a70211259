"""Strips of pictures, a row an algorithm: before and after on several prompts, and one prompt through training."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.run_folder.places import ResultsError

COLUMNS = 8
TILE = 96  # pixels a side
GAP = 4
MARGIN = 14
LABEL_WIDTH = 132
PROMPTS_THROUGH = 2  # prompts a reward that are followed through training
TITLE_HEIGHT = 34
LINE_HEIGHT = 14
CAPTION_LINES = 4
INK, FAINT, PAPER = "#222222", "#666666", "#ffffff"
FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"  # matplotlib ships DejaVu Sans, so that no system font is needed


@dataclass(frozen=True)
class StripRow:
    """One line of pictures: its name, a figure under it, and the first tiles of a grid."""

    label: str
    figure: str
    tiles: list[Image.Image]


def before_after(records: list[RunRecord], path: Path) -> None:
    """Draw the pretrained model's first evaluation images and, under them, those of every algorithm; a block a reward.

    Args:
        records: at least one `illustrated` run; rows of a block are of one seed, the lowest that most of them have.
    Raises:
        ResultsError: where a picture or its index is damaged.
    """
    blocks = []
    learned = illustrated(records)
    for task in dict.fromkeys(record.task for record in learned):
        runs = one_seed([record for record in learned if record.task == task])
        blocks.append((f"{task}, seed {runs[0].seed}", captions(runs[0]), block_rows(runs)))
    draw(blocks).save(path, format="PNG", optimize=True)


def through_training(records: list[RunRecord], path: Path) -> None:
    """Draw one image at every evaluation, at most COLUMNS of them; a block a reward and prompt.

    Args:
        records: at least one of `filmed`; rows of a block are of one seed, as in `before_after`.
    Raises:
        ResultsError: where a picture or its index is damaged.
    """
    blocks = []
    for task in dict.fromkeys(record.task for record in records):
        runs = one_seed([record for record in records if record.task == task])
        epochs = spread_evenly(sorted(set.intersection(*(set(grids_of(run)) for run in runs))), COLUMNS)
        heads = [f"epoch {epoch}" for epoch in epochs]
        for i, prompt in enumerate(captions(runs[0])[:PROMPTS_THROUGH]):
            rows = [
                StripRow(run.label, f"{run.final:#.3g}", [tiles(run, epoch)[i] for epoch in epochs]) for run in runs
            ]
            blocks.append((f"{task}, seed {runs[0].seed}: {prompt}", heads, rows))
    draw(blocks).save(path, format="PNG", optimize=True)


def filmed(records: list[RunRecord]) -> list[RunRecord]:
    """The `illustrated` runs that have pictures of an evaluation within training, not only before and after."""
    return [record for record in illustrated(records) if len(grids_of(record)) > 2]


def spread_evenly(values: list[int], count: int) -> list[int]:
    """At most `count` of the values, the first and the last among them."""
    if len(values) <= count:
        return values
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def illustrated(records: list[RunRecord]) -> list[RunRecord]:
    """The runs that learned, so that their pictures differ from the pretrained model's, and have pictures."""
    return [r for r in records if r.algorithm != "frozen" and (r.samples / "index.json").exists()]


def one_seed(records: list[RunRecord]) -> list[RunRecord]:
    """The runs of the seed that most cells have, the lowest of several."""
    counts = Counter(record.seed for record in records)
    seed = min(counts, key=lambda seed: (-counts[seed], seed))
    return [record for record in records if record.seed == seed]


def block_rows(runs: list[RunRecord]) -> list[StripRow]:
    pretrained = StripRow("pretrained", f"{runs[0].held_out(runs[0].reward, 0):#.3g}", tiles(runs[0], min))
    return [pretrained, *(StripRow(run.label, f"{run.final:#.3g}", tiles(run, max)) for run in runs)]


def tiles(run: RunRecord, which: int | Callable[[Iterable[int]], int]) -> list[Image.Image]:
    """The first tiles of a grid of a run, at the strip's size.

    Args:
        which: an epoch, or which to pick of those that have a grid.
    """
    width, height = read_index(run)["tile"]
    grids = grids_of(run)
    if not grids:
        raise ResultsError(
            f"{run.samples}: holds no epoch-*.png beside its index.json. Delete {run.folder} and run again."
        )
    with Image.open(grids[which if isinstance(which, int) else which(grids)]) as opened:
        grid = opened.convert("RGB")
    count = min(COLUMNS, grid.width // width)
    # whole multiples stay sharp as they are; other sizes need a filter
    method = Image.Resampling.NEAREST if TILE % width == 0 else Image.Resampling.LANCZOS
    cut = [grid.crop((i * width, 0, (i + 1) * width, height)) for i in range(count)]
    return [tile.resize((TILE, TILE), method) for tile in cut]


def grids_of(run: RunRecord) -> dict[int, Path]:
    """Epoch to grid of every evaluation."""
    return {int(path.stem.removeprefix("epoch-")): path for path in run.samples.glob("epoch-*.png")}


def captions(run: RunRecord) -> list[str]:
    return list(read_index(run)["prompts"][:COLUMNS])


def read_index(run: RunRecord) -> dict[str, Any]:
    path = run.samples / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}: not valid JSON ({error.msg}). Delete {run.folder} and run again.") from None
    return dict(index)


def draw(blocks: list[tuple[str, list[str], list[StripRow]]]) -> Image.Image:
    """All blocks under each other; prompts are written over a block unless they are those of the block above."""
    fresh = [i == 0 or blocks[i][1] != blocks[i - 1][1] for i in range(len(blocks))]
    heights = [
        TITLE_HEIGHT + fresh[i] * caption_lines(prompts) * LINE_HEIGHT + len(rows) * (TILE + GAP) + MARGIN
        for i, (_, prompts, rows) in enumerate(blocks)
    ]
    columns = max(len(row.tiles) for _, _, rows in blocks for row in rows)
    left = MARGIN + label_width([row.label for _, _, rows in blocks for row in rows])
    titles = max(font(15, bold=True).getlength(title) for title, _, _ in blocks)
    width = max(left + columns * (TILE + GAP) - GAP, MARGIN + math.ceil(titles)) + MARGIN
    canvas = Image.new("RGB", (width, sum(heights) + MARGIN), PAPER)
    top = MARGIN
    for (title, prompts, rows), height, shows_prompts in zip(blocks, heights, fresh, strict=True):
        draw_block(canvas, (left, top), title, prompts[:columns] if shows_prompts else [], rows)
        top += height
    return canvas


def draw_block(
    canvas: Image.Image, corner: tuple[int, int], title: str, prompts: list[str], rows: list[StripRow]
) -> None:
    pen = ImageDraw.Draw(canvas)
    left, top = corner  # of the pictures' column, and of the block
    pen.text((MARGIN, top + TITLE_HEIGHT // 2), title, fill=INK, font=font(15, bold=True), anchor="lm")
    top += TITLE_HEIGHT
    high = caption_lines(prompts)
    for i, prompt in enumerate(prompts):
        lines = wrap(prompt, font(11), TILE)
        for j, line in enumerate(lines):
            y = top + (high - len(lines) + j) * LINE_HEIGHT + LINE_HEIGHT // 2 - 3
            pen.text((left + i * (TILE + GAP) + TILE // 2, y), line, fill=FAINT, font=font(11), anchor="mm")
    top += high * LINE_HEIGHT
    for row in rows:
        draw_label(pen, left, top + TILE // 2, row)
        for i, tile in enumerate(row.tiles):
            canvas.paste(tile, (left + i * (TILE + GAP), top))
        top += TILE + GAP


def caption_lines(prompts: list[str]) -> int:
    """Lines of the longest caption; 0 without any."""
    return max((len(wrap(prompt, font(11), TILE)) for prompt in prompts), default=0)


def label_width(labels: list[str]) -> int:
    """Room for the longest word of a label, which cannot be broken."""
    words = [word for label in labels for word in label.split()]
    return max(LABEL_WIDTH, 16 + max(round(font(13, bold=True).getlength(word)) for word in words))


def draw_label(pen: ImageDraw.ImageDraw, left: int, middle: int, row: StripRow) -> None:
    """A row's name, right-aligned before the pictures, its reward under it."""
    lines = wrap(row.label, font(13, bold=True), left - MARGIN - 16)
    right = left - 12
    y = middle - (len(lines) * 17) // 2
    for line in lines:
        pen.text((right, y), line, fill=INK, font=font(13, bold=True), anchor="rm")
        y += 17
    pen.text((right, y), row.figure, fill=FAINT, font=font(12), anchor="rm")


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in at most CAPTION_LINES lines of `width` pixels, cut off with an ellipsis."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if face.getlength(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    if len(lines) > CAPTION_LINES:
        lines = [*lines[: CAPTION_LINES - 1], f"{lines[CAPTION_LINES - 1]} …"]
    return lines


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), size)
