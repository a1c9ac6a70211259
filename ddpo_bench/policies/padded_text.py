"""Embeddings of prompts of any length, padded to one that no other prompt of a batch decides."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad


def padded(texts: Tensor, length: int) -> dict[str, Tensor]:
    """The tensors of a conditioning.

    Args:
        texts: embeddings of one prompt, [L, D].
        length: at least L.
    Returns:
        texts: [1, length, D], 0 after those of the prompt.
        mask: [1, length], 1 for those of the prompt and 0 for others.
    """
    missing = length - len(texts)
    return {"texts": pad(texts, (0, 0, 0, missing))[None], "mask": pad(texts.new_ones(1, len(texts)), (0, missing))}
