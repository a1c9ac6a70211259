"""Captions, their parsing, and the words of the embedded world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ddpo_bench.embedded.scenes import ANIMALS, NOUNS, THINGS, Scene, caption, parse_caption, plural, sample_scene


def test_there_are_the_45_animals_of_ddpo_and_40_things() -> None:
    assert (len(ANIMALS), len(THINGS), len(set(NOUNS))) == (45, 40, 85)


def test_every_plural_and_singular_is_a_word_of_its_own_noun_alone() -> None:
    forms = [form for noun in NOUNS for form in {noun, plural(noun)}]
    assert len(forms) == len(set(forms))


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (Scene(("dog",)), "a dog"),
        (Scene(("apple",), 1, "orange"), "an apple on an orange background"),
        (Scene(("frog",), 3, "blue", "striped"), "three frogs on a blue striped background"),
        (Scene(("cat", "ant"), 1, None, "dotted"), "a cat and an ant on a dotted background"),
        (Scene(("goose",), 2, "red", "plain"), "two geese on a red background"),
    ],
)
def test_captions_read_as_english(scene: Scene, text: str) -> None:
    assert caption(scene) == text


def test_parsing_a_caption_gives_back_the_scene() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        scene = sample_scene(rng)
        named = replace(scene, pattern=None) if scene.pattern == "plain" else scene
        assert parse_caption(caption(scene)) == named


def test_a_prompt_without_a_known_noun_is_no_scene() -> None:
    assert parse_caption("a spaceship on a red background") is None
