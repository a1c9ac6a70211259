"""How reward functions that were written for other trainers are made and called, read from their signatures.

ddpo-pytorch and TRL call fn(images, prompts, metadata), which returns (scores, info).  In ddpo-pytorch a factory
without arguments makes that function, in flow_grpo one that may take a `device`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from ddpo_bench.reward_bases.eight_bit import eight_bit

Pictures = Literal["tensor", "array", "pil"]
CALLED_WITH = 3  # images, prompts, metadata


def is_factory(function: Callable[..., Any]) -> bool:
    """Whether a function makes the reward function: it cannot take three arguments, and needs none except a `device`.

    Raises:
        ValueError: where it can be called neither way; the message begins with what it takes.
    """
    signature = signature_of(function)
    if signature is None or can_take(signature, *range(CALLED_WITH)):
        return False
    if can_take(signature, **dict.fromkeys(signature.parameters.keys() & {"device"})):
        return True
    raise ValueError(
        f"takes {signature}; write a function of (images, prompts, metadata), or one that returns it and takes nothing "
        "or `device`."
    )


def made_by(factory: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The reward function that a factory, or a class whose objects are called, makes for a device.

    Raises:
        TypeError: where it makes something else.
    """
    parameters = inspect.signature(factory).parameters
    function = factory(device=device) if "device" in parameters else factory()
    if not callable(function) or is_factory(function):
        raise TypeError(f"it returned {type(function).__name__}, not a function of (images, prompts, metadata)")
    made: Callable[..., Any] = function
    return made


def pictures_of(function: Callable[..., Any]) -> Pictures:
    """What the annotation of a function's first parameter asks for; a tensor wherever that is not excluded."""
    signature = signature_of(function)
    first = next(iter(signature.parameters.values()), None) if signature else None
    if first is None or first.annotation is first.empty:
        return "tensor"
    words = set(re.findall(r"\w+", str(first.annotation)))  # "list[PIL.Image.Image]", "<class 'numpy.ndarray'>", ...
    if "Tensor" in words:
        return "tensor"
    if words & {"ndarray", "NDArray"}:
        return "array"
    unresolved = isinstance(first.annotation, str)
    return "pil" if "PIL" in words or (unresolved and "Image" in words) else "tensor"


def as_asked(images: Tensor, pictures: Pictures) -> Any:
    """[N, 3, H, W] in [0, 1] as it is, as a uint8 array [N, H, W, 3], or as a list of N RGB images of Pillow's."""
    if pictures == "tensor":
        return images
    array = eight_bit(images)
    return array if pictures == "array" else [Image.fromarray(one) for one in array]


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """A signature, or None without one; its annotations are text where only a type checker knows what they name."""
    try:
        return inspect.signature(function, eval_str=True)
    except (ValueError, TypeError):
        return None
    except Exception:  # an annotation is an expression of the user's
        return inspect.signature(function)


def can_take(signature: inspect.Signature, *arguments: Any, **named: Any) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True
