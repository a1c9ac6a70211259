"""Counter-based random words: Philox 4x32-10 (Salmon et al. 2011, Random123), in torch."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


def philox(key: int, counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four random 32-bit words for each counter.

    Counter words that are the same along a dimension may be given without it, which saves most of two rounds.

    Args:
        key: 64 bits; a negative number is read as two's complement.
        counter: four int64 tensors that broadcast, in [0, 2^32).
    Returns:
        Four int64 tensors, in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key & LOW, key >> 32 & LOW
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # 64-bit products, wrapping
        c0, c2 = upper(second, c1 ^ k0), upper(first, c3 ^ k1)
        c1, c3 = second, first  # only their low words matter, which the masks see to
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1 & LOW, c2, c3 & LOW


def upper(product: Tensor, other: Tensor) -> Tensor:
    """The high words of 64-bit products, xor the low words of `other`."""
    return torch.bitwise_right_shift(product, 32).bitwise_xor(other).bitwise_and_(LOW)
