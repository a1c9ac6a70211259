"""What transformers 4 needs to load the shipped models, whichever version wrote them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from ddpo_bench.embedded import EMBEDDED
from ddpo_bench.embedded.portable import make_portable


@pytest.mark.parametrize("model", EMBEDDED.values(), ids=EMBEDDED)
def test_shipped_folders_have_what_transformers_4_needs(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for weights in folder.glob("text_encoder*/model.safetensors"):  # as transformers 5 writes a new encoder
        save_file({name.removeprefix("text_model."): value for name, value in load_file(weights).items()}, weights)
    for written in (*folder.glob("tokenizer*/vocab.json"), *folder.glob("tokenizer*/merges.txt")):
        written.unlink()
    make_portable(folder)
    shipped, made = (sorted(path.relative_to(at) for path in at.rglob("*.*")) for at in (model, folder))
    assert shipped == made
    for name in (path for path in made if path.suffix in (".json", ".txt", ".safetensors")):
        assert (model / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_files_of_both_versions_hold_the_same_tokenizer(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(EMBEDDED["embedded"] / "tokenizer" / name, tmp_path)
    text = ["three frogs on a blue striped background", "Zebra zzz, 7 häuser!"]
    both = (
        CLIPTokenizer.from_pretrained(folder)(text).input_ids
        for folder in (tmp_path, EMBEDDED["embedded"] / "tokenizer")
    )
    assert next(both) == next(both)
