"""The tokenizer of the embedded model: CLIP's byte-level BPE with a vocabulary of its own.

Every word of the captions is one token; other words are split into characters, so that no prompt is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from ddpo_bench.embedded.scenes import COLOURS, COUNT_WORDS, NOUNS, PATTERNS, plural

MAX_LENGTH = 16  # tokens per prompt, with start and end
END_OF_WORD = "</w>"


def build_tokenizer() -> CLIPTokenizer:
    """A CLIPTokenizer whose merges join each caption word into a single token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    bpe.train_from_iterator(caption_words(), trainers.BpeTrainer(end_of_word_suffix=END_OF_WORD, show_progress=False))
    merges = bpe_merges(bpe)
    symbols = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *("".join(pair) for pair in merges)]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    with TemporaryDirectory() as folder:  # by files, which every version of transformers reads alike
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        Path(folder, "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_LENGTH)


def caption_words() -> list[str]:
    words = ["a", "an", "and", "on", "background", *COUNT_WORDS, *COLOURS, *PATTERNS]
    return sorted({*words, *NOUNS, *(plural(noun) for noun in NOUNS)})


def bpe_merges(bpe: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
