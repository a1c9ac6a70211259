"""The size of latents: from a network's configuration, or from the height and width of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def sides(sample_size: Any) -> tuple[int, int] | None:
    """Height and width of latents from a network's configuration, which may give one number for both."""
    both = [sample_size] * 2 if isinstance(sample_size, int) else sample_size
    if not isinstance(both, (list, tuple)) or len(both) != 2:
        return None
    height, width = both
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in both)
    return (height, width) if whole else None


def vae_factor(vae: Mapping[str, Any]) -> int:
    """Pixels to a latent, along one side, by the VAE's configuration."""
    if "temperal_downsample" in vae:  # of a VAE for videos too, which spells it so
        return 2 ** len(vae["temperal_downsample"])
    return 2 ** (len(vae.get("block_out_channels", (64,))) - 1)


def vae_channels(vae: Mapping[str, Any]) -> int:
    """Channels of a latent, by the VAE's configuration."""
    return int(vae.get("z_dim") or vae.get("latent_channels", 4))


def latent_sides(own: tuple[int, int], height: int | None, width: int | None, factor: int) -> tuple[int, int]:
    """Height and width of latents.

    Args:
        own: of the model's own latents.
        height, width: of images, in pixels; None for the model's own.
        factor: pixels to a latent, along one side.
    """
    return own[0] if height is None else height // factor, own[1] if width is None else width // factor


def size_mistake(key: str, pixels: int | None, multiple: int) -> str | None:
    """What is wrong with a side of images; None where nothing is.

    Args:
        multiple: what the model's images are a multiple of.
    """
    if pixels is None or pixels % multiple == 0:
        return None
    below = pixels // multiple * multiple
    near = " or ".join(str(side) for side in (below, below + multiple) if side)
    return f"policy.{key}: {pixels}: must be a multiple of {multiple} for this model. Write {near}."


def as_the_vae_made_them(latents: Tensor, vae: Mapping[str, Any]) -> Tensor:
    """Latents of unit variance, [N, C, H, W], as the VAE's decoder takes them, by its configuration."""
    scale, shift = vae.get("scaling_factor") or 1.0, vae.get("shift_factor")
    mean, std = vae.get("latents_mean"), vae.get("latents_std")
    if mean is not None and std is not None:
        channels = (1, -1, 1, 1)
        return latents * latents.new_tensor(std).view(channels) / scale + latents.new_tensor(mean).view(channels)
    return latents / scale if shift is None else latents / scale + shift
