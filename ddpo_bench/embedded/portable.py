"""What transformers 4 needs in a pipeline's folder, and transformers 5 no longer writes.

Version 4 reads a CLIP tokenizer from two files of its own; and it starts a text encoder from random weights, with no
more than a warning, where the weights' names lack the prefix `text_model`.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

PREFIX = "text_model."


def make_portable(folder: Path) -> None:
    """Rewrite the tokenizers and text encoders of a saved pipeline so that transformers 4.57 to 5 load the same."""
    for tokenizer in folder.glob("tokenizer*"):
        write_vocabulary(tokenizer)
    for weights in folder.glob("text_encoder*/model.safetensors"):
        write_prefixed(weights)


def write_vocabulary(folder: Path) -> None:
    """Write `vocab.json` and `merges.txt` from `tokenizer.json`."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = json.dumps(model["vocab"], ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary + "\n", encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")


def write_prefixed(path: Path) -> None:
    """Give the names of a text encoder's weights their prefix; `text_projection` stands outside it."""
    own = (PREFIX, "text_projection.")
    weights = {name if name.startswith(own) else PREFIX + name: value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
