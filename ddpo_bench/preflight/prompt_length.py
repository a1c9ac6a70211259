"""Prompts that are longer than the text encoder's input, counted without loading a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ddpo_bench.config import ConfigError, RunConfig
from ddpo_bench.held_out import split
from ddpo_bench.policies.model_folder import local_folder

DRAWS = 256  # of either side
ENDS = 2  # tokens that stand for start and end


def length_lines(configs: Iterable[RunConfig]) -> Iterator[str]:
    """A line for each model on this machine and prompt function of which some prompts are too long."""
    said = set()
    for config in configs:
        folder = local_folder(str(config.policy.options.get("model", "")))
        key = folder, repr(config.prompts), config.evaluation.prompts
        if folder and key not in said and (longest := longest_input(folder / "tokenizer")):
            said.add(key)
            prompts = different_prompts(config)
            if count := sum(is_longer(prompt, longest, folder / "tokenizer") for prompt in prompts):
                yield (
                    f"{count} of {len(prompts)} different prompts drawn from {config.prompts} have more than the "
                    f"{longest} tokens that the text encoder reads; the model will not see their ends"
                )


def different_prompts(config: RunConfig) -> set[str]:
    rng = np.random.default_rng(0)
    return {side(rng)[0] for side in split(config.prompts.build(), config.evaluation.prompts) for _ in range(DRAWS)}


def longest_input(tokenizer: Path) -> int | None:
    """Tokens, start and end included; None where the tokenizer does not tell."""
    try:
        length = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return None
    return length if isinstance(length, int) else None


def is_longer(prompt: str, longest: int, tokenizer: Path) -> bool:
    if len(prompt.encode()) + ENDS <= longest:  # a token is a byte at least
        return False
    return counter(tokenizer)(prompt) > longest


@cache
def counter(tokenizer: Path) -> Callable[[str], int]:
    """Counts the tokens of a prompt; without transformers, whose import takes a second, where the folder allows it.

    Raises:
        ConfigError: where the tokenizer is damaged.
    """
    file = tokenizer / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer

        try:
            fast = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises no narrower class
            raise ConfigError([f"policy.model: {file} cannot be read: {error}. Copy it again."]) from None
        fast.no_truncation()
        fast.no_padding()
        return lambda prompt: len(fast.encode(prompt).ids)
    from ddpo_bench.policies.stable_diffusion import import_pipeline

    import_pipeline()  # which silences the library's notes
    from transformers import CLIPTokenizer

    slow = CLIPTokenizer.from_pretrained(str(tokenizer))
    return lambda prompt: len(slow(prompt).input_ids)
