"""What keeps a folder's UNet from being trained on prompts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.policies.latent_size import sides
from ddpo_bench.policies.stored_weights import read_json

NOT_CONDITIONED_BY_TEXT_ALONE = {  # keys of the UNet's configuration and what they have where a prompt is all it needs
    "class_embed_type": None,
    "num_class_embeds": None,
    "addition_embed_type": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "attention_type": "default",
}


def unet_mistakes(folder: Path, hidden: int, conditions: Mapping[str, Any]) -> Iterator[str]:
    """A UNet that needs more than latents, a timestep and a prompt, or that does not fit the other parts.

    Args:
        hidden: width of the text embeddings.
        conditions: keys of the UNet's configuration that say what more a family gives it.
    """
    unet, vae = (read_json(folder / part / "config.json") for part in ("unet", "vae"))
    place = f"{folder}/unet/config.json"
    for key, neutral in (NOT_CONDITIONED_BY_TEXT_ALONE | dict(conditions)).items():
        if unet.get(key) != neutral and (unet.get(key) is not None or key in conditions):
            needs = "other conditions than its family's" if key in conditions else "more than a prompt"
            yield f"{place}: {key}: {unet.get(key)!r}: this UNet needs {needs}. Choose another model."
    if unet.get("dropout"):
        yield f"{place}: dropout: {unet['dropout']}: learning would score other steps than were sampled. Set it to 0.0."
    taken, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if taken != latents:
        kind = {2 * latents + 1: ": an inpainting model", 2 * latents: ": an image-to-image model"}.get(taken, "")
        yield f"{place}: in_channels: {taken}, but latents have {latents}{kind}. Give a text-to-image model."
    elif unet.get("out_channels", 4) != latents:
        yield f"{place}: out_channels: {unet.get('out_channels')}, but latents have {latents}. Choose another model."
    width = unet.get("cross_attention_dim", 1280)
    if any(each != hidden for each in (width if isinstance(width, list) else [width])):
        yield f"{place}: cross_attention_dim: {width}, but the text encoder's hidden_size is {hidden}."
    if not isinstance(vae.get("scaling_factor", 0.18215), (int, float)):
        yield f"{folder}/vae/config.json: scaling_factor: {vae['scaling_factor']!r} is no number. Write 0.18215."
    if (size := unet.get("sample_size")) is None or sides(size) is None:
        yield f"{place}: sample_size: {size!r}: write the latents' side there, or [height, width], as in 64."
