"""Images to score, and a verifier whose answers the tests decide."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ddpo_bench.embedded.scenes import COLOURS, NOUNS, PATTERNS


@pytest.fixture
def images() -> Tensor:
    """[4, 3, 24, 40] in [0, 1]: not square, so that a swap of height and width shows."""
    return torch.rand(4, 3, 24, 40, generator=torch.Generator().manual_seed(0))


class FakeVerifier:
    """Sees a frog at 0.9 and a cat at 0.4, counts by [0.1, 0.2, 0.3, 0.4], a blue (0.8) dotted (0.7) background."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        self.seen.append(images)
        nouns, colour = torch.zeros(len(NOUNS)), torch.zeros(len(COLOURS))
        nouns[NOUNS.index("frog")], nouns[NOUNS.index("cat")] = 0.9, 0.4
        colour[list(COLOURS).index("blue")] = 0.8
        pattern = torch.tensor([0.7 if name == "dotted" else 0.1 for name in PATTERNS])
        found = {"nouns": nouns, "count": torch.tensor([0.1, 0.2, 0.3, 0.4]), "colour": colour, "pattern": pattern}
        return {part: row.expand(len(images), -1) for part, row in found.items()}


@pytest.fixture
def verifier(monkeypatch: pytest.MonkeyPatch) -> FakeVerifier:
    """A FakeVerifier in the place of the trained one."""
    fake = FakeVerifier()
    monkeypatch.setitem(sys.modules, "ddpo_bench.embedded.verifier", SimpleNamespace(load_verifier=lambda: fake))
    return fake
