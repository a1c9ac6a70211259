"""A pipeline's folder looked at from outside: whether it is one that this policy can train.  Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.policies.stored_weights import (
    WEIGHTS,
    NotReadable,
    NotSafetensors,
    read_json,
    shapes,
    weight_files,
)

PIPELINE = "StableDiffusionPipeline"
PARTS = {  # of the pipeline, and the classes that each may have
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
SCHEDULER = "scheduler/scheduler_config.json"
CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json", SCHEDULER)
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
NOT_CONDITIONED_BY_TEXT_ALONE = {  # keys of the UNet's configuration and what they have where a prompt is all it needs
    "class_embed_type": None,
    "num_class_embeds": None,
    "addition_embed_type": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "attention_type": "default",
}
READ = ("json", "txt", "safetensors")  # endings of settings, vocabularies and weights
CONVERT = f"Save it as safetensors: {PIPELINE}.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
FROM_FILE = f"Make a folder of it: {PIPELINE}.from_single_file(FILE).save_pretrained(FOLDER)."


def model_path(model: str) -> Path:
    """Where a model's folder would be: the embedded one, or a path with ~ for the home folder."""
    if model == "embedded":
        return MODEL_FOLDER
    try:
        return Path(model).expanduser()
    except RuntimeError:  # there is no such user
        return Path(model)


def is_hub_name(model: str) -> bool:
    return model.count("/") == 1 and not os.path.isabs(model) and model[0] not in ".~" and all(model.split("/"))


def local_folder(model: str) -> Path | None:
    """Where a model is on this machine; None for a hub model that would have to be downloaded."""
    if model_path(model).is_dir():
        return model_path(model)
    return cached_folder(model) if is_hub_name(model) else None


def cached_folder(model: str) -> Path | None:
    """The local copy of a hub model, where its largest part has been downloaded; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(model, name) for name in ("unet/config.json", "model_index.json")]
    folders = {Path(name).parents[depth] for name, depth in zip(found, (1, 0), strict=True) if isinstance(name, str)}
    folder = folders.pop() if len(folders) == 1 else None
    return folder if folder and not list(missing(folder)) else None


def model_mistakes(model: str) -> list[str]:
    """What would keep a run from loading this model, as far as this machine can tell, each with its remedy."""
    folder = model_path(model)
    if model == "embedded":
        return []
    if not folder.exists() and is_hub_name(model):
        cached = cached_folder(model)
        return folder_mistakes(cached) if cached else []
    if folder.is_file():
        return [f"{model} is a file. {FROM_FILE}"]
    if not folder.is_dir():
        return [f"{model!r} is neither a folder nor a hub name like 'owner/name'. Write embedded, or mend the path."]
    return folder_mistakes(folder)


def read_files(folder: Path) -> list[Path]:
    """The files that decide what a model computes: the settings and weights of its parts."""
    parts = [*PARTS, "scheduler"]
    return [
        *folder.glob("model_index.json"),
        *(file for part in parts for ending in READ for file in folder.glob(f"{part}/*.{ending}")),
    ]


def folder_mistakes(folder: Path) -> list[str]:
    """What would keep a run from loading this folder, each with its remedy."""
    try:
        if not (folder / "model_index.json").is_file():
            return [f"{folder} holds no model_index.json{instead_of_a_pipeline(folder)}"]
        return list(class_mistakes(folder)) or list(missing(folder)) or [*unet_mistakes(folder), *damaged(folder)]
    except NotReadable as error:
        return [str(error)]


def instead_of_a_pipeline(folder: Path) -> str:
    """What a folder without an index is, as far as its files tell."""
    names = {path.name for path in folder.iterdir()}
    if names & {"pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin", "adapter_config.json"}:
        return ": it holds LoRA weights alone. Fuse them with their model (fuse_lora) and save that pipeline."
    if "config.json" in names:
        kind = read_json(folder / "config.json").get("_class_name", "model")
        return f": it holds a {kind} alone. Give the folder of a whole {PIPELINE}."
    if any(name.endswith((".safetensors", ".ckpt")) for name in names):
        return f" but weights in one file. {FROM_FILE}"
    return f". Give a folder that {PIPELINE} saved."


def class_mistakes(folder: Path) -> Iterator[str]:
    """A pipeline of another kind, or parts of other classes."""
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind != PIPELINE:
        yield (
            f"{folder} is a {kind or 'pipeline without a class'}, and only a {PIPELINE} can be trained: "
            "Stable Diffusion 1.x or 2.x, text to image. Give such a folder."
        )
        return
    wrong = []
    for part, classes in PARTS.items():
        found = index.get(part)
        name = found[1] if isinstance(found, list) and len(found) == 2 else found
        if name not in classes:
            wrong.append(f"{part} is {name or 'missing'}, not {classes[0]}")
    if not isinstance(index.get("scheduler"), list):
        wrong.append("scheduler is missing")
    if wrong:
        yield f"{folder}/model_index.json: {'; '.join(wrong)}. Give a folder that {PIPELINE} saved."


def missing(folder: Path) -> Iterator[str]:
    lacking = [name for name in CONFIGS if not (folder / name).is_file()]
    for part in WEIGHTS:
        if not list(weight_files(folder, part)):
            pickles = sorted((folder / part).glob("*.bin"))
            if pickles:
                yield f"{pickles[0]} is a pickle, which may run code, and is never loaded. {CONVERT}"
            else:
                lacking.append(f"{part}'s weights")
    if not any(all((folder / "tokenizer" / name).is_file() for name in names) for names in TOKENIZERS):
        lacking.append("tokenizer/tokenizer.json")
    if lacking:
        yield f"{folder} lacks {', '.join(lacking)}. Save the whole pipeline there again."


def unet_mistakes(folder: Path) -> Iterator[str]:
    """A UNet that needs more than latents, a timestep and a prompt, or that does not fit the other parts."""
    unet, vae, text = (read_json(folder / part / "config.json") for part in ("unet", "vae", "text_encoder"))
    place = f"{folder}/unet/config.json"
    read_json(folder / SCHEDULER)
    for key, neutral in NOT_CONDITIONED_BY_TEXT_ALONE.items():
        if unet.get(key) not in (neutral, None):
            yield f"{place}: {key}: {unet[key]!r}: this UNet needs more than a prompt. Choose another model."
    if unet.get("dropout"):
        yield f"{place}: dropout: {unet['dropout']}: learning would score other steps than were sampled. Set it to 0.0."
    taken, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if taken != latents:
        kind = {2 * latents + 1: ": an inpainting model", 2 * latents: ": an image-to-image model"}.get(taken, "")
        yield f"{place}: in_channels: {taken}, but latents have {latents}{kind}. Give a text-to-image model."
    elif unet.get("out_channels", 4) != latents:
        yield f"{place}: out_channels: {unet.get('out_channels')}, but latents have {latents}. Choose another model."
    width, hidden = unet.get("cross_attention_dim", 1280), text.get("hidden_size", 512)
    if any(each != hidden for each in (width if isinstance(width, list) else [width])):
        yield f"{place}: cross_attention_dim: {width}, but the text encoder's hidden_size is {hidden}."
    if not isinstance(vae.get("scaling_factor", 0.18215), (int, float)):
        yield f"{folder}/vae/config.json: scaling_factor: {vae['scaling_factor']!r} is no number. Write 0.18215."
    if (size := unet.get("sample_size")) is None or sides(size) is None:
        yield f"{place}: sample_size: {size!r}: write the latents' side there, or [height, width], as in 64."


def scheduler_config(folder: Path) -> dict[str, Any]:
    """A sound folder's scheduler as StableDiffusionPipeline reads it: it counts timesteps from 1 and never clips,
    whatever the file says."""
    return read_json(folder / SCHEDULER) | {"steps_offset": 1, "clip_sample": False}


def sides(sample_size: Any) -> tuple[int, int] | None:
    """Height and width of latents from a UNet's configuration, which may give one number for both."""
    both = [sample_size] * 2 if isinstance(sample_size, int) else sample_size
    if not isinstance(both, (list, tuple)) or len(both) != 2:
        return None
    height, width = both
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in both)
    return (height, width) if whole else None


def latent_shape(unet_config: Mapping[str, Any]) -> tuple[int, int, int]:
    """C, H, W of a sound folder's latents."""
    both = sides(unet_config["sample_size"])
    assert both is not None
    return unet_config["in_channels"], *both


def damaged(folder: Path) -> Iterator[str]:
    for part in WEIGHTS:
        for path in weight_files(folder, part):
            try:
                shapes(path)
            except NotSafetensors as error:
                yield f"{path} {error}. Copy it again."
