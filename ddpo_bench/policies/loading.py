"""Loading a diffusers pipeline from a local folder, with one line for whatever goes wrong."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class ModelNotFound(ValueError):
    """No pipeline could be loaded from the given folder or hub name."""


def refuse(mistakes: list[str]) -> None:
    if mistakes:
        raise ModelNotFound("\n".join(mistakes))


@contextlib.contextmanager
def naming_model_trouble(pipeline: str, model: str) -> Iterator[None]:
    """Say in one line what the libraries raise for models that they cannot find or read."""
    from safetensors import SafetensorError

    try:
        yield
    except ModelNotFound:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ModelNotFound(f"policy.model: no {pipeline} could be loaded from {model!r}: {reason}") from error


def weight_mistakes(pipeline: DiffusionPipeline, networks: Iterable[str], folder: Path) -> list[str]:
    """Weights that are not finite, by the first of their names."""
    found = []
    for part in networks:
        named = dict(getattr(pipeline, part).named_parameters())
        norms = torch.stack(torch._foreach_norm(list(named.values()), dtype=torch.float32))
        bad = [name for name, norm in zip(named, norms.tolist(), strict=True) if not math.isfinite(norm)]
        if bad:
            found.append(
                f"{folder}: {len(bad)} of {part}'s weights are NaN or infinite, {bad[0]} first. Copy it again."
            )
    return found


def import_pipeline(name: str) -> type[DiffusionPipeline]:
    """A pipeline's class, whose import takes seconds, and would take a fifth longer while the garbage collector runs.

    Loading bars, and notes on absent torchvision, would break our own progress display.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        import diffusers
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for logging in (diffusers_logging, transformers_logging):
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        kind: type[DiffusionPipeline] = getattr(diffusers, name)
    finally:
        if collecting:
            gc.enable()
    return kind


def dtype_argument() -> str:
    """The name under which `from_pretrained` takes precisions: later versions of diffusers warn of the former one."""
    from diffusers.pipelines import pipeline_utils

    return "dtype" if hasattr(pipeline_utils, "_resolve_dtype") else "torch_dtype"
