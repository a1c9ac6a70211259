"""GenEval's rules against sets of pixels and values worked out by hand; its detector against transformers' own way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from every_plugin import make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.reward_bases.geneval_rules import COLOURS, Box, kept, overlap, partial, relations, strict
from ddpo_bench.rewards.geneval import GenEval

EDGES = st.tuples(*[st.integers(0, 12)] * 4)
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
RGB = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


def box(edges: tuple[int, int, int, int]) -> Box:
    left, right = sorted((edges[0], edges[2]))
    top, bottom = sorted((edges[1], edges[3]))
    return left, top, right, bottom


def pixels(edges: Box) -> set[tuple[int, int]]:
    """Both edges are part of a box, as GenEval counts."""
    left, top, right, bottom = map(int, edges)
    return {(x, y) for x in range(left, right + 1) for y in range(top, bottom + 1)}


@given(EDGES, EDGES)
@settings(deadline=None, max_examples=60)
def test_overlap_is_the_share_of_common_pixels(first: Any, second: Any) -> None:
    one, other = pixels(box(first)), pixels(box(second))
    assert overlap(box(first), box(second)) == pytest.approx(len(one & other) / len(one | other))


def test_a_box_that_overlaps_with_a_surer_one_is_not_counted() -> None:
    first, shifted, apart = (0.0, 0.0, 9.0, 9.0), (0.0, 5.0, 9.0, 14.0), (40.0, 0.0, 49.0, 9.0)  # 50 of 150 pixels
    boxes, scores = [apart, shifted, first], [0.4, 0.5, 0.9]
    assert kept(boxes, scores, max_overlap=0.3) == [first, apart]
    assert kept(boxes, scores, max_overlap=0.34) == [first, shifted, apart]
    assert kept([first] * 20, [0.5] * 20, max_overlap=1) == [first] * 16  # as in GenEval, where every box counts


@pytest.mark.parametrize(
    ("first", "expected"),
    [  # seen from a box of 10 x 10 around (50, 50); the margin is a tenth of both sizes, 2 pixels
        ((15, 45, 25, 55), {"left of"}),
        ((75, 75, 85, 85), {"right of", "below"}),  # 28 of a distance of 42.4, each way
        ((46, 46, 56, 56), set()),  # the offset is within the margin
        ((49, 45, 59, 55), set()),  # 4 - 2 is no more than half of 4
        ((50, 45, 60, 55), {"right of"}),  # 5 - 2 is
        ((61, 25, 71, 35), {"right of", "above"}),  # 14 and 18 of 25.6
        ((57, 25, 67, 35), {"above"}),  # 10 and 18 of 23.3
    ],
)
def test_a_position_needs_half_of_the_distance_beyond_the_margin(first: Box, expected: set[str]) -> None:
    assert relations(first, (45, 45, 55, 55)) == expected


@given(EDGES, EDGES)
@settings(deadline=None, max_examples=60)
def test_positions_are_each_others_opposites(first: Any, second: Any) -> None:
    one, other = relations(box(first), box(second)), relations(box(second), box(first))
    assert one == {OPPOSITE[relation] for relation in other}


A, B, C = (0.0, 0.0, 10.0, 10.0), (40.0, 0.0, 50.0, 10.0), (80.0, 0.0, 90.0, 10.0)
COUNT = {"include": [{"class": "cat", "count": 2}], "exclude": [{"class": "cat", "count": 3}]}
COLOUR = {"include": [{"class": "cat", "count": 2, "color": "red"}]}
PLACE = {"include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["right of", 0]}]}


@pytest.mark.parametrize(
    ("metadata", "objects", "expected_strict", "expected_partial"),
    [
        (COUNT, {"cat": [A, B]}, True, 1),
        (COUNT, {"cat": [A]}, False, 1 / 2),
        (COUNT, {"cat": [A, B, C]}, False, 1 / 2),
        (COUNT, {"cat": [A, B, C, A, B, C]}, False, -1),  # Flow-GRPO's credit has no lower end
        (COUNT, {}, False, 0),
        (COLOUR, {"cat": [A, B]}, False, (1 + 1 / 2) / 2),  # A is red, B is blue, C is red
        (COLOUR, {"cat": [A, C]}, True, 1),
        (COLOUR, {"cat": [A, C, B]}, True, (1 / 2 + 0) / 2),  # nothing excludes a third, but the surest two count
        (PLACE, {"dog": [A], "cat": [B]}, True, 1),
        (PLACE, {"dog": [B], "cat": [A]}, False, 2 / 3),
        (PLACE, {"cat": [B]}, False, (0 + 1 + 0) / 3),  # nothing to be right of
        (PLACE, {"dog": [A], "cat": [B, C]}, True, (1 + 0 + 0) / 3),
    ],
)
def test_strict_and_partial_credit(
    metadata: dict[str, Any], objects: dict[str, list[Box]], expected_strict: bool, expected_partial: float
) -> None:
    def colours_of(name: str, boxes: list[Box]) -> list[str]:
        return ["blue" if one == B else "red" for one in boxes]

    assert strict(metadata, objects, colours_of) is expected_strict
    assert partial(metadata, objects, colours_of) == pytest.approx(expected_partial)


@pytest.fixture(scope="module")
def geneval() -> GenEval:
    made: GenEval = make("reward", "geneval", threshold=0.05)
    made.start(torch.device("cpu"))
    return made


def test_the_detector_finds_what_transformers_own_processor_finds(geneval: GenEval) -> None:
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    images = torch.randint(0, 256, (3, 3, 24, 40), generator=torch.Generator().manual_seed(0)) / 255
    classes = [["cat", "frog"], ["cow"], ["dog", "cat"]]
    found = geneval.detector.find(images, classes, 0.05)
    assert sum(len(boxes) for one in found for boxes, _ in one.values()) > 3
    model, processor = (kind.from_pretrained(geneval.model) for kind in (Owlv2ForObjectDetection, Owlv2Processor))
    for image, names, own in zip(images, classes, found, strict=True):
        picture = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        texts = [[f"a photo of a {name}" for name in names]]
        inputs = processor(text=texts, images=picture, return_tensors="pt", max_length=16, truncation=True)
        with torch.no_grad():
            output = model(**inputs)
        size = torch.tensor([[24, 40]])
        (theirs,) = processor.post_process_grounded_object_detection(output, target_sizes=size, threshold=0.05)
        for label, name in enumerate(names):
            boxes, scores = own[name]
            assert scores == pytest.approx(theirs["scores"][theirs["labels"] == label].tolist(), rel=1e-4)
            expected = theirs["boxes"][theirs["labels"] == label].clamp(min=0)
            inside = torch.minimum(expected, torch.tensor([40.0, 24, 40, 24]))  # a box may end where it was padded
            torch.testing.assert_close(torch.tensor(boxes).view(-1, 4), inside, rtol=1e-4, atol=1e-3)


class Painter:
    """Encoders by which a text is the colour it names, and a picture its mean colour."""

    def texts(self, texts: list[str]) -> Tensor:
        assert {"a photo of a red cat", "a photo of a red-colored cat", "a photo of a red object"} <= set(texts)
        named = [next(colour for colour in COLOURS if f" {colour}" in text) for text in texts]
        return torch.tensor([RGB.get(colour, (0.5, 0.5, 0.5)) for colour in named], dtype=torch.float64)

    def images(self, images: Tensor) -> Tensor:
        return images.double().mean(dim=(2, 3))


def test_colours_and_tasks_are_those_of_each_picture(geneval: GenEval, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a detector that finds two cats wherever it is asked for one."""
    images = torch.zeros(2, 3, 20, 60)
    images[:, 0, :, :15], images[:, 2, :, 30:] = 1, 1  # red on the left, blue on the right
    boxes, scores = [(0.2, 0.0, 14.6, 20.0), (31.0, 2.0, 58.0, 19.0)], [0.9, 0.8]
    finder = SimpleNamespace(find=lambda images, classes, threshold: [{"cat": (boxes, scores)} for _ in images])
    monkeypatch.setattr(geneval, "detector", finder)
    monkeypatch.setattr(geneval, "encoders", Painter())
    metadata = [
        {"tag": "counting", "include": [{"class": "cat", "count": 2}]},
        {"tag": "colors", "include": [{"class": "cat", "count": 2, "color": "red"}]},
    ]
    output = score(geneval, images, ["two cats", "two red cats"], metadata)
    assert geneval.colours_in(images[0], "cat", boxes) == ["red", "blue"]
    assert output.scores.tolist() == [1, 0.75]
    assert output.info["strict"] == [1, 0]
    assert (output.info["counting"], output.info["colors"]) == ([1, None], [None, 0])


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({}, "must hold `include`"),
        ({"include": [{"class": "cat"}]}, "needs a `class` and a `count` of at least 1"),
        ({"include": [{"class": "cat", "count": 1, "color": "teal"}]}, "has the color 'teal'; known: red, orange"),
        ({"include": [{"class": "cat", "count": 1, "position": ["near", 0]}]}, r"has the position \['near', 0\]"),
    ],
)
def test_metadata_that_are_not_genevals_are_one_line(geneval: GenEval, metadata: dict[str, Any], line: str) -> None:
    with pytest.raises(RewardError, match=f"reward geneval.*: the metadata of 'a cat' {line}"):
        geneval(torch.rand(1, 3, 24, 24), ["a cat"], [metadata])
