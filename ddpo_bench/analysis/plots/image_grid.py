"""Grids of images, a row an algorithm: before and after training on several prompts, or one through training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ddpo_bench.analysis.cells import tasks_of
from ddpo_bench.analysis.measures import BASELINE
from ddpo_bench.analysis.plots.shared import STYLE
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.run_folder.places import ResultsError

COLUMNS = 8
DPI, TILE, GAP = 100, 96, 4  # pixels
STEP = TILE + GAP
TITLE, LINE = 44, 14  # pixels of a block's title, and of a line of text over its columns
HEAD, LINES, NAME = 16, 4, 22  # characters of a line over a column, lines there, characters of a line of a row's name
PROMPTS_THROUGH = 2  # prompts a reward that are followed through training
INK, FAINT = "#222222", "#666666"


class Block(NamedTuple):
    """Rows of images under one title: a text over each column, and by the name of each row its tiles."""

    title: str
    heads: list[str]
    rows: dict[str, list[Image.Image]]


def before_after(records: list[RunRecord], path: Path) -> None:
    """Draw the pretrained model's first evaluation images and, under them, those of every algorithm; a block a reward.

    Args:
        records: at least one `illustrated` run; rows of a block are of one seed, the lowest that most of them have.
    Raises:
        ResultsError: where a picture or its index is damaged.
    """
    blocks = []
    learned = illustrated(records)
    for task in tasks_of(learned):
        runs = one_seed([record for record in learned if record.task == task])
        rows = {name_of("pretrained", runs[0].held_out(runs[0].reward, 0)): tiles(runs[0], min)}
        rows |= {name_of(run.label, run.final): tiles(run, max) for run in runs}
        blocks.append(Block(f"{task}, seed {runs[0].seed}", prompts_of(runs[0]), rows))
    draw(blocks, path)


def through_training(records: list[RunRecord], path: Path) -> None:
    """Draw one image at every evaluation, at most COLUMNS of them; a block a reward and prompt.

    Args:
        records: at least one of `filmed`; rows of a block are of one seed, as in `before_after`.
    Raises:
        ResultsError: where a picture or its index is damaged.
    """
    blocks = []
    for task in tasks_of(records):
        runs = one_seed([record for record in records if record.task == task])
        epochs = spread_evenly(sorted(set.intersection(*(set(grids_of(run)) for run in runs))), COLUMNS)
        images = {name_of(run.label, run.final): [tiles(run, epoch) for epoch in epochs] for run in runs}
        for i, prompt in enumerate(prompts_of(runs[0])[:PROMPTS_THROUGH]):
            rows = {name: [several[i] for several in each] for name, each in images.items()}
            title = f"{task}, seed {runs[0].seed}: {prompt}"
            blocks.append(Block(" ".join(title.split()), [f"epoch {epoch}" for epoch in epochs], rows))
    draw(blocks, path)


def filmed(records: list[RunRecord]) -> list[RunRecord]:
    """The `illustrated` runs that have pictures of an evaluation within training, not only before and after."""
    return [record for record in illustrated(records) if len(grids_of(record)) > 2]


def illustrated(records: list[RunRecord]) -> list[RunRecord]:
    """The runs that learned, so that their pictures differ from the pretrained model's, and have pictures."""
    return [r for r in records if r.algorithm != BASELINE and (r.samples / "index.json").exists()]


def spread_evenly(values: list[int], count: int) -> list[int]:
    """At most `count` of the values, the first and the last among them."""
    if len(values) <= count:
        return values
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def one_seed(records: list[RunRecord]) -> list[RunRecord]:
    """The runs of the seed that most cells have, the lowest of several."""
    counts = Counter(record.seed for record in records)
    seed = min(counts, key=lambda seed: (-counts[seed], seed))
    return [record for record in records if record.seed == seed]


def tiles(run: RunRecord, which: int | Callable[[Iterable[int]], int]) -> list[Image.Image]:
    """The first tiles of an evaluation's images, TILE pixels a side.

    Args:
        which: an epoch, or which to pick of those that have images.
    """
    width, height = read_index(run)["tile"]
    grids = grids_of(run)
    if not grids:
        raise ResultsError(
            f"{run.samples}: holds no epoch-*.png next to its index.json. Delete {run.folder} and run again."
        )
    with Image.open(grids[which if isinstance(which, int) else which(grids)]) as opened:
        grid = opened.convert("RGB")
    # whole multiples stay sharp as they are; other sizes need a filter
    method = Image.Resampling.NEAREST if TILE % width == 0 else Image.Resampling.LANCZOS
    cut = [grid.crop((i * width, 0, (i + 1) * width, height)) for i in range(min(COLUMNS, grid.width // width))]
    return [tile.resize((TILE, TILE), method) for tile in cut]


def grids_of(run: RunRecord) -> dict[int, Path]:
    """Epoch to file of every evaluation's images."""
    return {int(path.stem.removeprefix("epoch-")): path for path in run.samples.glob("epoch-*.png")}


def prompts_of(run: RunRecord) -> list[str]:
    """The first prompts, broken into lines that fit over a tile."""
    prompts = read_index(run)["prompts"][:COLUMNS]
    return [fill(prompt, HEAD, max_lines=LINES, placeholder=" …") for prompt in prompts]


def read_index(run: RunRecord) -> dict[str, Any]:
    path = run.samples / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}: not valid JSON ({error.msg}). Delete {run.folder} and run again.") from None
    return dict(index)


def name_of(label: str, value: float) -> str:
    """What is written left of a row: the algorithm, and its reward."""
    return f"{fill(label, NAME)}\n{value:#.3g}"


def draw(blocks: list[Block], path: Path) -> None:
    """All blocks under each other; the texts over a block are left out where those above are the same."""
    repeated = [False, *(above.heads == below.heads for above, below in pairwise(blocks))]
    blocks = [block._replace(heads=[] if again else block.heads) for block, again in zip(blocks, repeated, strict=True)]
    images = [together(block) for block in blocks]
    above = [TITLE + LINE * max((head.count("\n") + 1 for head in block.heads), default=0) for block in blocks]
    width = max(image.width for image in images)
    height = sum(above) + sum(image.height for image in images)
    with mpl.rc_context(STYLE | {"axes.grid": False, "font.size": 8}):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        bottom = height
        for block, image, space in zip(blocks, images, above, strict=True):
            bottom -= space + image.height
            place = (0, bottom / height, image.width / width, image.height / height)
            draw_block(figure.add_axes(place), block, image)
        figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})


def draw_block(axes: Axes, block: Block, image: Image.Image) -> None:
    axes.imshow(np.asarray(image), interpolation="nearest", aspect="auto")
    axes.set_title(block.title, fontsize=11)
    axes.set_frame_on(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=FAINT)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    heads = block.heads[: (image.width + GAP) // STEP]  # a grid may have fewer tiles than prompts
    axes.set_xticks([i * STEP + TILE / 2 for i in range(len(heads))], heads)
    axes.set_yticks([i * STEP + TILE / 2 for i in range(len(block.rows))], list(block.rows))


def together(block: Block) -> Image.Image:
    """All tiles in one image."""
    size = max(map(len, block.rows.values())), len(block.rows)
    image = Image.new("RGB", (size[0] * STEP - GAP, size[1] * STEP - GAP), "white")
    for i, tiles in enumerate(block.rows.values()):
        for j, tile in enumerate(tiles):
            image.paste(tile, (j * STEP, i * STEP))
    return image
