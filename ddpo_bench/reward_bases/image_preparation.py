"""What a model's image processor does to pictures, for tensors and differentiable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers


@dataclass(frozen=True)
class ImagePreparation:
    """Resize, centre crop and normalisation as an image processor of CLIP or SigLIP does them, without its rounding.

    The processor rounds to 8 bits before the resize, between its two directions and after it.

    Attributes:
        size: height and width to resize to, or the length of the shorter side.
        crop: height and width of the centre that is kept; None for all.
        mode: how pixels are interpolated: bilinear or bicubic.
        mean, std: of each colour channel, for images in [0, 1].
    """

    size: tuple[int, int] | int
    crop: tuple[int, int] | None
    mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1] to [N, 3, h, w], float32."""
        size = self.resized(*images.shape[-2:])
        kept = images.float()
        for between in ((kept.shape[-2], size[1]), size):  # Pillow cuts off what bicubic weights overshoot after each
            kept = F.interpolate(kept, between, mode=self.mode, antialias=True, align_corners=False).clamp(0, 1)
        if self.crop:
            top, left = ((have - keep) // 2 for have, keep in zip(size, self.crop, strict=True))
            kept = kept[..., top : top + self.crop[0], left : left + self.crop[1]]
        mean, std = (torch.tensor(values, device=kept.device)[:, None, None] for values in (self.mean, self.std))
        return (kept - mean) / std

    def resized(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size
        short = min(height, width)
        return int(self.size * height / short), int(self.size * width / short)


def preparation(settings: Mapping[str, Any]) -> ImagePreparation:
    """The preparation that an image processor's settings describe.

    Raises:
        ValueError: where they ask for something else.
    """
    size = {side: pixels for side, pixels in dict(settings["size"]).items() if pixels is not None}
    crop = settings["crop_size"] if settings.get("do_center_crop") else None
    found = ImagePreparation(
        size["shortest_edge"] if "shortest_edge" in size else (size["height"], size["width"]),
        (crop["height"], crop["width"]) if crop else None,
        MODES.get(int(settings["resample"]), ""),
        tuple(settings["image_mean"]),
        tuple(settings["image_std"]),
    )
    smallest = (found.size, found.size) if isinstance(found.size, int) else found.size
    fits = not found.crop or all(keep <= have for keep, have in zip(found.crop, smallest, strict=True))
    does_all = all(settings[step] for step in ("do_resize", "do_rescale", "do_normalize"))
    if not (does_all and fits and found.mode and abs(settings["rescale_factor"] - 1 / 255) < 1e-9):
        raise ValueError("its image processor must resize (bilinear or bicubic), scale by 1/255 and normalise")
    return found
