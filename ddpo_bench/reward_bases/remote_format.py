"""What a reward server and its client send each other: safetensors, with all that is no tensor as JSON inside.

A request holds `images`, [N, 3, H, W] floats in [0, 1], or `png.0`, `png.1`, ..., each the bytes of a file; and `json`,
the bytes of {"prompts": [...], "metadata": [...]}.  A response holds `scores`, [N] float64, and `json`, the info.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.protocols import Metadata, RewardOutput
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.eight_bit import eight_bit

VERSION = 1  # of this format
TOKEN_VARIABLE = "DDPO_BENCH_REWARD_TOKEN"  # the environment variable of the token, on both sides
LARGEST_SIDE = 16_384  # pixels


class BadRequest(Exception):
    """A body that is no request for scores."""


def request_of(images: Tensor, prompts: list[str], metadata: list[Metadata], png: bool) -> bytes:
    """The body of a request for the scores of images [N, 3, H, W].

    Raises:
        RewardError: where the metadata is of types that JSON does not have.
    """
    from safetensors.torch import save

    try:
        tensors = {"json": bytes_of({"prompts": prompts, "metadata": metadata})}
    except (TypeError, ValueError) as error:
        raise RewardError(f"the metadata of prompts cannot be sent as JSON: {error}.") from None
    if png:
        tensors |= {f"png.{n}": png_of(picture) for n, picture in enumerate(eight_bit(images))}
    else:
        tensors["images"] = images.detach().cpu().contiguous()
    return save(tensors)


def read_request(body: bytes, most_images: int) -> tuple[Tensor, list[str], list[Metadata]]:
    """Images [N, 3, H, W], prompts and metadata.

    Raises:
        BadRequest: where the body is not what `request_of` makes, or has more images.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(body)
        told = json.loads(text_in(tensors.pop("json")))
        prompts, metadata = told["prompts"], told["metadata"]
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise BadRequest(f"the body is not a request as safetensors ({type(error).__name__})") from None
    count = len(tensors["images"]) if "images" in tensors and tensors["images"].dim() else len(tensors)
    if not 1 <= count <= most_images:
        raise BadRequest(f"the request has {count} images; send 1 to {most_images} (batch_size)")
    if not is_list_of(prompts, str, count) or not is_list_of(metadata, dict, count):
        raise BadRequest(f"prompts and metadata must be lists of {count} texts and mappings, one an image")
    return images_in(tensors), prompts, metadata


def response_of(output: RewardOutput) -> bytes:
    """The body of a response; what JSON does not have in the info becomes text."""
    from safetensors.torch import save

    return save({"scores": output.scores, "json": bytes_of(output.info, default=str)})


def read_response(body: bytes) -> RewardOutput:
    """What the reward gave, to the bit.

    Raises:
        RewardError: where the body is no response.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(body)
        return RewardOutput(tensors["scores"], json.loads(text_in(tensors["json"])))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise RewardError(f"the response holds no scores ({type(error).__name__}). Is this a reward server?") from None


def images_in(tensors: dict[str, Tensor]) -> Tensor:
    if "images" in tensors:
        images = tensors["images"]
        if not images.is_floating_point() or images.dim() != 4 or images.shape[1] != 3 or not images.numel():
            raise BadRequest(f"images must be floats [N, 3, H, W], got {images.dtype} {list(images.shape)}")
        return images
    try:
        pictures = [picture_in(tensors[f"png.{n}"]) for n in range(len(tensors))]
        return torch.stack(pictures)
    except (KeyError, ValueError, OSError, SyntaxError, RuntimeError, TypeError) as error:
        raise BadRequest(f"no PNG files of one size could be read ({type(error).__name__})") from None


def picture_in(file: Tensor) -> Tensor:
    """[3, H, W], float32 in [0, 1], of a PNG file."""
    with Image.open(io.BytesIO(file.numpy().tobytes()), formats=["PNG"]) as opened:
        if max(opened.size) > LARGEST_SIDE:  # told before anything is unpacked
            raise ValueError("too large")
        pixels = np.asarray(opened.convert("RGB"))
    return torch.tensor(pixels).permute(2, 0, 1).float() / 255


def png_of(pixels: Any) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return as_tensor(file.getvalue())


def bytes_of(data: Any, default: Any = None) -> Tensor:
    return as_tensor(json.dumps(data, default=default).encode())


def as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def text_in(data: Tensor) -> str:
    return data.numpy().tobytes().decode()


def is_list_of(values: Any, kind: type, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(value, kind) for value in values)
