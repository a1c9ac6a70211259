"""How the report's templates write names, numbers, colours and pictures."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape
from PIL import Image

from ddpo_bench.analysis.over_optimisation import IMAGE, KL, Changes

BROAD = 1700  # pixels of a picture with so many panels that on a phone its text needs more room than others
RISE, FALL, NEUTRAL = (0, 114, 178), (213, 94, 0), (90, 90, 90)  # Okabe and Ito 2008; neutral: can only rise
STRONGEST = 0.5  # opacity of a column's largest change; dark text stays readable on it


class Embedded(NamedTuple):
    """A PNG as a page holds it."""

    width: int
    height: int
    base64: str

    @property
    def is_broad(self) -> bool:
        return self.width > BROAD


def embedded(path: Path) -> Embedded:
    with Image.open(path) as image:
        return Embedded(*image.size, base64.b64encode(path.read_bytes()).decode())


def anchor(heading: str) -> str:
    """A heading as the id of its section."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def breakable(name: str) -> Markup:
    """A name that may break at its underscores, so that a narrow column holds it."""
    return escape(name).replace("_", Markup("_<wbr>"))


def with_code(note: str) -> Markup:
    """A note in which `code` is marked up."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(note))))


def number(value: float, places: int, sign: str = "") -> str:
    """A number with a true minus; a dash where it was not measured.

    Args:
        sign: "+" to show that of positive numbers too.
    """
    return "–" if math.isnan(value) else f"{value:{sign}z.{places}f}".replace("-", "−")


def shade(change: float, changes: Changes, measure: str) -> str:
    """The colour that says which way and how far a measure changed; none where the change rounds to nothing."""
    if math.isnan(change) or not round(change, changes.decimals(measure)):
        return ""
    red, green, blue = NEUTRAL if measure == KL else RISE if change > 0 else FALL
    return f"rgba({red}, {green}, {blue}, {STRONGEST * abs(change) / changes.largest(measure):.2f})"


def measure_title(measure: str) -> str:
    return "KL (nats)" if measure == KL else measure.removeprefix(IMAGE)


FILTERS = {one.__name__: one for one in (embedded, anchor, breakable, with_code, number, shade, measure_title)}
