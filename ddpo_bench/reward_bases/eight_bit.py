"""Images as 8-bit pictures, as files and other libraries hold them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def eight_bit(images: Tensor) -> NDArray[np.uint8]:
    """Images rounded to 8 bits.

    Args:
        images: [N, 3, H, W] in [0, 1], on any device; values beyond are clamped.
    Returns:
        uint8 [N, H, W, 3].
    """
    pixels = (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
