"""Low-level statistics of images, and the diversity of samples of one prompt, which over-optimisation destroys first.

They need no model, so that they cost nothing compared with sampling, and mean the same under every reward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpo_bench import processes

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG
SIDE = 16  # pixels per side at which samples are compared


def brightness(images: Tensor) -> Tensor:
    """Mean luma.

    Args:
        images: [N, 3, H, W] in [0, 1], as for all statistics.
    Returns:
        [N], from 0 (black) to 1 (white).
    """
    return luma(images).mean((1, 2))


def contrast(images: Tensor) -> Tensor:
    """RMS contrast: the population standard deviation of luma (Peli 1990, "Contrast in complex images").

    Returns:
        [N], from 0 (a flat image) to 0.5 (half black, half white).
    """
    return luma(images).std((1, 2), correction=0)


def colourfulness(images: Tensor) -> Tensor:
    """M^(3) of Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", on their scale of 0 to 255.

    Returns:
        [N], 0 for grey; their viewers called 15 slightly, 59 quite and 109 extremely colourful.
    """
    red, green, blue = (255 * images).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)  # [N, 2, H, W]
    spread = opponents.var((2, 3), correction=0).sum(1).sqrt()
    return spread + 0.3 * opponents.mean((2, 3)).norm(dim=1)


def sharpness(images: Tensor) -> Tensor:
    """Variance of luma's Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy").

    The kernel is that of the four neighbours; pixels at the border are left out.

    Returns:
        [N], from 0 (a flat image) to 16 (a checkerboard of single pixels).
    """
    y = luma(images)
    inner = y[:, 1:-1, 1:-1]
    laplacian = y[:, :-2, 1:-1] + y[:, 2:, 1:-1] + y[:, 1:-1, :-2] + y[:, 1:-1, 2:] - 4 * inner
    return laplacian.var((1, 2), correction=0)


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "colourfulness": colourfulness,
    "sharpness": sharpness,
}


def image_statistics(images: Tensor) -> dict[str, float]:
    """The mean of every statistic over [N, 3, H, W] images in [0, 1], of which each process looks at its share."""
    own = images[processes.share(len(images))].double()
    return {
        name: processes.gathered(statistic(own), len(images)).mean().item() for name, statistic in STATISTICS.items()
    }


def diversity(samples: Tensor) -> float:
    """Mean distance between samples of one prompt: the RMS difference of images averaged down to 16 x 16 pixels.

    At that size it measures layout and colour, not texture, which differs between any two images.

    Args:
        samples: [P, S, 3, H, W] in [0, 1], S >= 2 samples of each of P prompts; H and W at least 16.
    Returns:
        0 where all samples of a prompt are the same, at most 1.
    """
    small = F.adaptive_avg_pool2d(samples.flatten(0, 1).double(), SIDE).unflatten(0, samples.shape[:2])
    first, second = torch.triu_indices(samples.shape[1], samples.shape[1], offset=1)
    return (small[:, first] - small[:, second]).square().mean((2, 3, 4)).sqrt().mean().item()


def luma(images: Tensor) -> Tensor:
    """Luma, [N, H, W] in [0, 1]."""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))
