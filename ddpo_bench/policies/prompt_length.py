"""How much of a prompt a text encoder reads, by its tokenizer: of a loaded pipeline, or of a folder alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ddpo_bench.parsing import ConfigError
from ddpo_bench.protocols import SeenPrompt

ENDS = 2  # tokens that stand for start and end


def seen_prompt(tokenizer: Any, prompt: str, limit: int | None = None) -> SeenPrompt:
    """The part of a prompt that fits into the text encoder.

    Args:
        tokenizer: of transformers.
        limit: the tokens that are read, those for start and end included; None for the tokenizer's own
            `model_max_length`.
    """
    tokens = tokenizer(prompt).input_ids
    longest = limit or tokenizer.model_max_length
    if len(tokens) < longest:
        return SeenPrompt(prompt, 0)
    end = [token for token in tokens[-1:] if token in tokenizer.all_special_ids]  # which some tokenizers do not add
    kept = [*tokens[: longest - len(end)], *end]  # also where all fit: a longer prompt may begin with the very same
    return SeenPrompt(tokenizer.decode(kept, skip_special_tokens=True), len(tokens) - longest)


def is_longer(prompt: str, tokenizer: Path, limit: int | None = None) -> bool:
    """Whether a prompt has more tokens than `limit`, or than fit; False where the tokenizer's folder does not tell."""
    longest = limit or longest_input(tokenizer)
    if longest is None or len(prompt.encode()) + ENDS <= longest:  # a token is a byte at least
        return False
    return counter(tokenizer)(prompt) > longest


@cache
def longest_input(tokenizer: Path) -> int | None:
    """Tokens, start and end included; None where the tokenizer does not tell."""
    length = settings(tokenizer).get("model_max_length")
    return length if isinstance(length, int) else None


def settings(tokenizer: Path) -> dict[str, Any]:
    """What its configuration says; nothing where that cannot be read."""
    try:
        found = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
    import transformers

    transformers.utils.logging.set_verbosity_error()
    default = "T5TokenizerFast" if (tokenizer / "spiece.model").is_file() else "CLIPTokenizer"
    named = settings(tokenizer).get("tokenizer_class", default)
    slow = getattr(transformers, named if hasattr(transformers, named) else default).from_pretrained(str(tokenizer))
    return lambda prompt: len(slow(prompt).input_ids)
