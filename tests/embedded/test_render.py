"""Rendering, where the emoji font is installed, and the message where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddpo_bench.embedded import render as rendering
from ddpo_bench.embedded.scenes import PATTERNS, Scene


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_has_two_shades_and_the_plain_one_only_one(pattern: str) -> None:
    mask = rendering.pattern_mask(pattern, np.random.default_rng(0))
    assert mask.shape == (64, 64)
    assert mask.min() == 0
    assert mask.max() == (0 if pattern == "plain" else 1)


def test_sprites_are_composited_and_cut_at_the_edge() -> None:
    canvas = np.zeros((64, 64, 3), np.float32)
    sprite = np.concatenate([np.full((10, 10, 3), 100.0), np.ones((10, 10, 1))], -1).astype(np.float32)
    rendering.paste(canvas, sprite, x=0, y=32, tint=1.0)
    assert (canvas[27:37, :5] == 100).all()
    assert canvas.sum() == 100 * 10 * 5 * 3


def test_a_missing_font_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "FONT_PATH", Path("nowhere.ttf"))
    rendering.full_sprite.cache_clear()
    rendering.sprite.cache_clear()
    with pytest.raises(rendering.MissingFont, match="fonts-noto-color-emoji"):
        rendering.render(Scene(("cat",), 1, "red", "plain"), np.random.default_rng(0))
