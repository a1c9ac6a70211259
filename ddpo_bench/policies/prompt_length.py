"""How much of a prompt a text encoder reads."""

from __future__ import annotations

from typing import Any

from ddpo_bench.protocols import SeenPrompt


def seen_prompt(tokenizer: Any, prompt: str) -> SeenPrompt:
    """The part of a prompt that fits into the text encoder.

    Args:
        tokenizer: of transformers; its `model_max_length` counts the tokens for start and end.
    """
    tokens = tokenizer(prompt).input_ids
    longest = tokenizer.model_max_length
    if len(tokens) < longest:
        return SeenPrompt(prompt, 0)
    kept = [*tokens[: longest - 1], tokens[-1]]  # also where all fit: a longer prompt may begin with the very same
    return SeenPrompt(tokenizer.decode(kept, skip_special_tokens=True), len(tokens) - longest)
