"""The verifier: a small classifier of the nouns, their number and the background in a 64 x 64 picture.

It judges pictures of the embedded model, in `scene_alignment` and in the evaluations of every run; on other pictures
its answers are meaningless.
"""

from __future__ import annotations

from functools import cache

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.embedded.scenes import COLOURS, COUNT_WORDS, NOUNS, PATTERNS

FILE = MODEL_FOLDER / "verifier" / "verifier.safetensors"
SIZE = 64  # pixels per side of the pictures that it was trained on
HEADS = {"nouns": len(NOUNS), "count": len(COUNT_WORDS), "colour": len(COLOURS), "pattern": len(PATTERNS)}


class Residual(nn.Module):
    """Two convolutions with group normalisation and a skip connection; halves the resolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(8, outputs) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norms[0](self.first(x)).relu()
        return (self.norms[1](self.second(h)) + self.skip(x)).relu()


class Verifier(nn.Module):
    """A convolutional classifier with four heads, of about 0.5 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, stride=2, padding=2)
        self.blocks = nn.Sequential(Residual(24, 48), Residual(48, 96), Residual(96, 144))  # 32 -> 16 -> 8 -> 4
        self.heads = nn.ModuleDict({name: nn.Linear(2 * 144, size) for name, size in HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of each head for images [N, 3, 64, 64] in [0, 1]."""
        features = self.blocks(self.stem(images * 2 - 1).relu()).flatten(2)
        pooled = torch.cat([features.mean(2), features.amax(2)], 1)
        return {name: head(pooled) for name, head in self.heads.items()}

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities of what the pictures show, differentiable in their pixels.

        Args:
            images: [N, 3, H, W] in [0, 1]; other sizes than 64 x 64 are resampled.
        Returns:
            nouns [N, 85], independent probabilities that each noun is present; count [N, 4], of 1 to 4 objects in
            total; colour [N, 10] and pattern [N, 4] of the background; in the order of `scenes`.
        """
        if images.shape[-2:] != (SIZE, SIZE):
            images = nn.functional.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
        logits = self(images)
        return {name: part.sigmoid() if name == "nouns" else part.softmax(1) for name, part in logits.items()}


@cache
def load_verifier() -> Verifier:
    """The shipped verifier, on the CPU."""
    verifier = Verifier()
    verifier.load_state_dict({name: value.float() for name, value in load_file(FILE).items()})
    return verifier.eval().requires_grad_(False)
