"""Models of transformers in fp32 whose weights are frozen, from their own folder or from weights under other names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.model_files import one_line, type_mistake

POOLER = "pooler."  # of a text encoder, which checkpoints may lack: its output is not read


def load_model(kind: str, folder: Path, device: torch.device) -> Any:
    """A model that transformers saved, from safetensors alone.

    Args:
        kind: its class in transformers, such as CLIPModel.
    Raises:
        RewardError: where the folder does not hold all of such a model, in one line.
    """
    import transformers

    if mistake := type_mistake(folder, getattr(transformers, kind).config_class.model_type):
        raise RewardError(mistake)
    return frozen(kind, folder, device, folder, local_files_only=True, use_safetensors=True)


def model_of(
    kind: str,
    config: Any,
    weights: dict[str, Tensor],
    file: Path,
    device: torch.device,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A model with given weights, which must be all of its own and no others.

    Args:
        kind: its class in transformers.
        config: its configuration there.
        weights: by their names there.
        file: from where they are, for the error.
        options: further arguments of its class.
    Raises:
        RewardError: where they are not those of such a model, in one line.
    """
    return frozen(kind, None, device, file, config=config, state_dict=weights, **options)


def frozen(kind: str, folder: Path | None, device: torch.device, source: Path, **loading: Any) -> Any:
    """What `from_pretrained` of a class of transformers makes, in fp32, with all of its weights.

    Args:
        source: from where its weights are, for the error.
        loading: further arguments of `from_pretrained`.
    """
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, loaded = getattr(transformers, kind).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **loading
        )
        model = model.to(device)
    except Exception as error:  # of safetensors, of transformers or, for a device, of torch
        raise RewardError(f"no {kind} could be loaded from {source} to {device}: {one_line(error)}") from error
    if absent := sorted(name for name in loaded["missing_keys"] if not name.startswith(POOLER)):
        raise RewardError(f"{source} lacks {len(absent)} of the weights of a {kind}, {absent[0]} first. Save it again.")
    if folder is None and (others := sorted(loaded["unexpected_keys"])):
        raise RewardError(f"{source} holds {len(others)} weights that this {kind} does not have, {others[0]} first.")
    return model.eval().requires_grad_(False)


def load_part(kind: str, folder: Path) -> Any:
    """What else a model comes with: a tokenizer, an image processor, its configuration.

    Args:
        kind: its class in transformers, such as AutoTokenizer.
    Raises:
        RewardError: where the folder holds none, in one line.
    """
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a missing file, an unknown type, a package that a tokenizer needs
        raise RewardError(f"no {kind} could be loaded from {folder}: {one_line(error)}") from error
