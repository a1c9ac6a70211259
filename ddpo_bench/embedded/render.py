"""Rendering of scenes as 64 x 64 pictures, with the emoji of the font Noto Color Emoji (OFL).

Only the recipe that trains the embedded model needs the font; the model itself does not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ddpo_bench.embedded.scenes import ANIMALS, COLOURS, THINGS, Scene

SIZE = 64  # pixels per side
FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the one size at which this bitmap font can be rendered
SPRITE_SIZES = {
    1: (44, 54),
    2: (28, 32),
    3: (26, 29),
    4: (26, 29),
}  # longest side in pixels, by number of objects
PLACES = {
    1: [[(32, 32)]],
    2: [[(17, 32), (47, 32)], [(32, 17), (32, 47)], [(18, 18), (46, 46)], [(46, 18), (18, 46)]],
    3: [[(17, 17), (47, 17), (32, 47)], [(32, 17), (17, 47), (47, 47)]],
    4: [[(17, 17), (47, 17), (17, 47), (47, 47)]],
}  # centres by number of objects, before jitter


class MissingFont(RuntimeError):
    """Noto Color Emoji is not installed; only the training recipe needs it."""


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a fully specified scene, with random places, sizes and tints.

    What varies is kept small, and nothing is flipped: in five steps a small model blurs over what the caption leaves
    open.

    Returns:
        uint8 [64, 64, 3].
    Raises:
        MissingFont: where the font is not installed.
    """
    nouns = list(scene.nouns) * scene.count
    canvas = background(scene, rng)
    layouts = PLACES[len(nouns)]
    places = layouts[rng.integers(len(layouts))]
    low, high = SPRITE_SIZES[len(nouns)]
    wobble = 3 if len(nouns) == 1 else 1
    for noun, (x, y) in zip(nouns, places, strict=True):
        image = sprite(noun, int(rng.integers(low, high + 1)))
        dx, dy = rng.integers(-wobble, wobble + 1, size=2)
        paste(canvas, image, x + int(dx), y + int(dy), tint=rng.uniform(0.9, 1.08))
    return canvas.clip(0, 255).astype(np.uint8)


def background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A background of jittered colour with its pattern in a darker or lighter shade, float32 [64, 64, 3] in 0..255."""
    if scene.colour is None or scene.pattern is None:
        raise ValueError(f"only a fully specified scene can be drawn, got {scene}.")
    base = np.array(COLOURS[scene.colour], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
    shade = base * 0.78 if base.mean() > 110 else base * 0.72 + 255 * 0.28
    mask = pattern_mask(scene.pattern, rng)[..., None]
    return base * (1 - mask) + shade * mask


def pattern_mask(pattern: str, rng: np.random.Generator) -> np.ndarray:
    """The mask of the second shade, with soft edges, float32 [64, 64] in [0, 1]."""
    if pattern == "plain":
        return np.zeros((SIZE, SIZE), np.float32)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    period = float(rng.choice([12, 14, 16]))
    x, y = x + rng.uniform(0, period), y + rng.uniform(0, period)
    wave = 2 * np.pi / period
    if pattern == "striped":
        along = (x, y, (x + y) * 0.7071, (x - y) * 0.7071)[rng.integers(4)]
        return np.clip(0.5 + 2.0 * np.sin(wave * along), 0, 1)
    if pattern == "checkered":
        return np.clip(0.5 + 4.0 * np.sin(wave * x) * np.sin(wave * y), 0, 1)
    return np.clip(2.0 * (np.cos(wave * x) + np.cos(wave * y)) - 1.0, 0, 1)


def paste(canvas: np.ndarray, image: np.ndarray, x: int, y: int, tint: float) -> None:
    """Composite a premultiplied RGBA sprite centred at (x, y), cropped at the edges of the canvas."""
    height, width = image.shape[:2]
    left, top = x - width // 2, y - height // 2
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, SIZE), min(top + height, SIZE)
    part = image[y0 - top : y1 - top, x0 - left : x1 - left]
    canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - part[..., 3:]) + part[..., :3] * tint


@cache
def sprite(noun: str, size: int) -> np.ndarray:
    """A sprite with longest side `size`, float32 [h, w, 4]: premultiplied RGB in 0..255 and alpha in [0, 1]."""
    image = full_sprite(noun)
    scale = size / max(image.size)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
    )
    pixels = np.asarray(image, np.float32)
    alpha = pixels[..., 3:] / 255
    return np.concatenate([pixels[..., :3] * alpha, alpha], axis=-1)


@cache
def full_sprite(noun: str) -> Image.Image:
    if not FONT_PATH.exists():
        raise MissingFont(f"{FONT_PATH} is missing: install Debian's package fonts-noto-color-emoji.")
    font = ImageFont.truetype(str(FONT_PATH), FONT_SIZE)
    image = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    symbol = (ANIMALS | THINGS)[noun]
    ImageDraw.Draw(image).text((8, 8), symbol, font=font, embedded_color=True)
    return image.crop(image.getbbox())
