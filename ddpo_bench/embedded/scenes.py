"""Scenes: what the embedded model draws, and the captions that describe it.

A scene is one to four copies of one noun, or one each of two nouns, on a plain or patterned background.  The nouns
are the 45 animals of DDPO's simple-animals list (Black et al. 2024, appendix) and 40 everyday things; each is an
emoji, so that a picture of every noun exists under an open licence (Noto Color Emoji, OFL).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

ANIMALS: dict[str, str] = {
    "cat": "🐱", "dog": "🐶", "horse": "🐴", "monkey": "🐵", "rabbit": "🐰", "zebra": "🦓", "spider": "🕷",
    "bird": "🐦", "sheep": "🐑", "deer": "🦌", "cow": "🐮", "goat": "🐐", "lion": "🦁", "tiger": "🐯", "bear": "🐻",
    "raccoon": "🦝", "fox": "🦊", "wolf": "🐺", "lizard": "🦎", "beetle": "🪲", "ant": "🐜", "butterfly": "🦋",
    "fish": "🐠", "shark": "🦈", "whale": "🐳", "dolphin": "🐬", "squirrel": "🐿", "mouse": "🐭", "rat": "🐀",
    "snake": "🐍", "turtle": "🐢", "frog": "🐸", "chicken": "🐔", "duck": "🦆", "goose": "🪿", "bee": "🐝",
    "pig": "🐷", "turkey": "🦃", "fly": "🪰", "llama": "🦙", "camel": "🐫", "bat": "🦇", "gorilla": "🦍",
    "hedgehog": "🦔", "kangaroo": "🦘",
}  # fmt: skip
THINGS: dict[str, str] = {
    "apple": "🍎", "banana": "🍌", "pear": "🍐", "lemon": "🍋", "watermelon": "🍉", "strawberry": "🍓",
    "pineapple": "🍍", "peach": "🍑", "carrot": "🥕", "mushroom": "🍄", "pizza": "🍕", "burger": "🍔", "cake": "🎂",
    "donut": "🍩", "cookie": "🍪", "car": "🚗", "bus": "🚌", "truck": "🚚", "tractor": "🚜", "train": "🚂",
    "rocket": "🚀", "boat": "⛵", "house": "🏠", "castle": "🏰", "tent": "⛺", "tree": "🌳", "palm": "🌴",
    "cactus": "🌵", "sunflower": "🌻", "rose": "🌹", "tulip": "🌷", "star": "⭐", "balloon": "🎈", "guitar": "🎸",
    "key": "🔑", "bell": "🔔", "crown": "👑", "heart": "❤", "robot": "🤖", "snowman": "⛄",
}  # fmt: skip
NOUNS: tuple[str, ...] = (*ANIMALS, *THINGS)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 48, 48), "orange": (242, 142, 40), "yellow": (248, 218, 70), "green": (70, 165, 80),
    "blue": (62, 112, 214), "purple": (130, 75, 180), "pink": (246, 160, 196), "brown": (128, 84, 52),
    "gray": (140, 140, 144), "white": (244, 244, 244),
}  # fmt: skip
PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checkered")
COUNT_WORDS: tuple[str, ...] = ("a", "two", "three", "four")
IRREGULAR_PLURALS: dict[str, str] = {
    "sheep": "sheep", "deer": "deer", "fish": "fish", "mouse": "mice", "goose": "geese", "wolf": "wolves",
    "cactus": "cacti", "snowman": "snowmen",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """The content of a picture.

    Attributes:
        nouns: one noun, or two different ones, of which there is one each.
        count: number of copies of a single noun, 1 to 4.
        colour: background colour, a key of `COLOURS`; None where a caption leaves it open.
        pattern: background pattern, one of `PATTERNS`; None where a caption leaves it open.
    """

    nouns: tuple[str, ...]
    count: int = 1
    colour: str | None = None
    pattern: str | None = None


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random, fully specified scene: 46 % single nouns, 14 % pairs of nouns, the rest two to four copies."""
    kind = rng.choice(5, p=[0.46, 0.14, 0.13, 0.13, 0.14])
    nouns = rng.choice(len(NOUNS), size=2 if kind == 4 else 1, replace=False)
    return Scene(
        nouns=tuple(NOUNS[i] for i in nouns),
        count=1 if kind == 4 else int(kind) + 1,
        colour=tuple(COLOURS)[rng.integers(len(COLOURS))],
        pattern=PATTERNS[rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])],
    )


def caption(scene: Scene) -> str:
    """The canonical caption of a scene, "three frogs on a blue striped background", without unspecified parts."""
    if len(scene.nouns) == 2:
        text = " and ".join(f"{article(noun)} {noun}" for noun in scene.nouns)
    elif scene.count == 1:
        text = f"{article(scene.nouns[0])} {scene.nouns[0]}"
    else:
        text = f"{COUNT_WORDS[scene.count - 1]} {plural(scene.nouns[0])}"
    background = [word for word in (scene.colour, scene.pattern) if word not in (None, "plain")]
    return f"{text} on {article(background[0])} {' '.join(background)} background" if background else text


def parse_caption(text: str) -> Scene | None:
    """The scene that a prompt describes, within the vocabulary; None where it names no known noun."""
    words = re.findall(r"[a-z]+", text.lower())
    nouns = tuple(dict.fromkeys(SINGULARS[word] for word in words if word in SINGULARS))[:2]
    if not nouns:
        return None
    count = next((COUNT_WORDS.index(word) + 1 for word in words if word in COUNT_WORDS[1:]), 1)
    return Scene(
        nouns=nouns,
        count=count if len(nouns) == 1 else 1,
        colour=next((word for word in words if word in COLOURS), None),
        pattern=next((word for word in words if word in PATTERNS), None),
    )


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def plural(noun: str) -> str:
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


SINGULARS: dict[str, str] = {form: noun for noun in NOUNS for form in (plural(noun), noun)}
