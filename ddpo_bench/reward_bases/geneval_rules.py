"""GenEval's rules (Ghosh et al. 2023, evaluate_images.py): what detected objects must be to satisfy a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ddpo_bench.protocols import Metadata

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
MARGIN = 0.1  # of both objects' size, by which centres must differ before a position counts
MOST = 16  # objects of a class that count

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Objects = Mapping[str, list[Box]]  # of each class, the surest first
ColoursOf = Callable[[str, list[Box]], list[str]]  # of a class's boxes


def clauses_mistake(metadata: Metadata) -> str | None:
    """What is wrong with the clauses of a prompt's metadata; None where they are as GenEval has them."""
    include = metadata.get("include")
    if not isinstance(include, list) or not include:
        return "must hold `include`, a list of clauses as in GenEval's evaluation_metadata.jsonl (prompts: from_file)"
    for clause in [*include, *metadata.get("exclude", [])]:
        named = isinstance(clause, Mapping) and isinstance(clause.get("class"), str)
        if not named or not isinstance(clause.get("count"), int) or clause["count"] < 1:
            return f"needs a `class` and a `count` of at least 1 in every clause, got {clause!r}"
    for place, clause in enumerate(include):
        if clause.get("color", COLOURS[0]) not in COLOURS:
            return f"has the color {clause['color']!r}; known: {', '.join(COLOURS)}"
        relation, target = clause.get("position", (RELATIONS[0], -1))
        if relation not in RELATIONS or target >= place:
            known = ", ".join(RELATIONS)
            return f"has the position {clause['position']!r}; write [{known}] and the number of an earlier clause"
    return None


def kept(boxes: list[Box], scores: list[float], max_overlap: float) -> list[Box]:
    """The surest boxes, without those that overlap with a surer one (non-maximum suppression).

    Args:
        max_overlap: intersection over union from which a box counts as another of the same object; 1 keeps all.
    """
    order = sorted(range(len(boxes)), key=lambda place: -scores[place])[:MOST]
    found: list[Box] = []
    for place in order:
        if max_overlap == 1 or all(overlap(boxes[place], other) < max_overlap for other in found):
            found.append(boxes[place])
    return found


def overlap(first: Box, second: Box) -> float:
    """Intersection over union, with sides counted in whole pixels, one more than the difference of the edges."""
    common = (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    return area(common) / (area(first) + area(second) - area(common))


def area(box: Box) -> float:
    return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)


def relations(first: Box, second: Box) -> set[str]:
    """Where the first box is, seen from the second: none, one or, on a diagonal, two of `RELATIONS`.

    The offset of the centres, less a margin, must be more than half of the centres' distance.
    """
    offsets, beyond = [], []
    for axis in (0, 1):
        offset = (first[axis] + first[axis + 2] - second[axis] - second[axis + 2]) / 2
        sizes = abs(first[axis + 2] - first[axis]) + abs(second[axis + 2] - second[axis])
        offsets.append(offset)
        beyond.append(math.copysign(max(abs(offset) - MARGIN * sizes, 0), offset))
    if all(abs(offset) < 1e-3 for offset in beyond):
        return set()
    x, y = (offset / math.hypot(*offsets) for offset in beyond)
    holds = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {relation for relation, is_so in holds.items() if is_so}


def all_related(relation: str, boxes: list[Box], targets: list[Box]) -> bool:
    return all(relation in relations(box, target) for box in boxes for target in targets)


def strict(metadata: Metadata, objects: Objects, colours_of: ColoursOf) -> bool:
    """Whether everything is as asked; of more objects than asked for, which `exclude` may forbid, the surest count."""
    groups: list[list[Box] | None] = []
    for clause in metadata["include"]:
        name, count = clause["class"], clause["count"]
        boxes = objects.get(name, [])[:count]
        fits = len(boxes) == count and has_colour(clause, boxes, colours_of) and has_position(clause, boxes, groups)
        groups.append(boxes if fits else None)
    allowed = all(len(objects.get(one["class"], [])) < one["count"] for one in metadata.get("exclude", []))
    return allowed and None not in groups


def has_colour(clause: Mapping[str, Any], boxes: list[Box], colours_of: ColoursOf) -> bool:
    return "color" not in clause or colours_of(clause["class"], boxes).count(clause["color"]) == clause["count"]


def has_position(clause: Mapping[str, Any], boxes: list[Box], groups: list[list[Box] | None]) -> bool:
    if "position" not in clause:
        return True
    relation, target = clause["position"]
    others = groups[target]
    return others is not None and all_related(relation, boxes, others)


def partial(metadata: Metadata, objects: Objects, colours_of: ColoursOf) -> float:
    """Flow-GRPO's reward: the mean credit of counts, colours and positions; at most 1, below 0 for too many objects.

    A count, of objects or of those with the right colour, has credit 1 - |found - asked| / asked.  Where the count is
    wrong, colours and positions have none.  Flow-GRPO's code also credits 1 to a wrong position, besides its 0.
    """
    credits: list[float] = []
    groups: list[list[Box] | None] = []
    for clause in metadata["include"]:
        count, boxes = clause["count"], objects.get(clause["class"], [])
        credits.append(1 - abs(count - len(boxes)) / count)
        fits = len(boxes) == count
        if not fits and ("color" in clause or "position" in clause):
            credits.append(0.0)
        if fits and "color" in clause:
            right = colours_of(clause["class"], boxes).count(clause["color"])
            credits.append(1 - abs(count - right) / count)
            fits = right == count
        if fits and "position" in clause:
            fits = has_position(clause, boxes, groups)
            credits.append(float(fits))
        groups.append(boxes if fits else None)
    return sum(credits) / len(credits)
