"""HPSv2 against open_clip's network under its own names, and its preprocessing against the cubic kernel itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rewards
import torch
import transformers
from every_plugin import make
from open_clip_reference import OpenClip
from torch import Tensor

from ddpo_bench.reward_bases.checking import RewardError

PROMPTS = ["a frog", "two cats", "a frog on a blue background"]
FILES = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}


def started(**options: Any) -> Any:
    reward = make("reward", "hpsv2", **options)
    reward.start(torch.device("cpu"))
    return reward


def cubic(before: int, after: int) -> Tensor:
    """Weights [after, before] of an antialiased resize by Keys' kernel, a = -0.5."""
    wide = max(before / after, 1.0)
    centres = (np.arange(after) + 0.5) * before / after
    x = np.abs((np.arange(before) + 0.5)[None] - centres[:, None]) / wide
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return torch.tensor(weights / weights.sum(axis=1, keepdims=True))


def padded(images: Tensor, side: int) -> Tensor:
    """The longer side becomes `side`, the other is padded with black; then CLIP's colours."""
    height, width = images.shape[-2:]
    rows, columns = (round(pixels * side / max(height, width)) for pixels in (height, width))
    canvas = torch.zeros(len(images), 3, side, side, dtype=torch.float64)
    top, left = (side - rows) // 2, (side - columns) // 2
    resized = cubic(height, rows) @ images.double() @ cubic(width, columns).T
    canvas[:, :, top : top + rows, left : left + columns] = resized
    mean, std = (torch.tensor(tiny_rewards.CLIP_PICTURES[f"image_{name}"]).double() for name in ("mean", "std"))
    return (canvas - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize(("version", "size"), [("v2.0", (24, 40)), ("v2.1", (61, 33)), ("v2.1", (16, 16))])
def test_scores_are_the_cosines_of_open_clip(version: str, size: tuple[int, int]) -> None:
    folder = tiny_rewards.folder_of("open_clip")
    reference = OpenClip(16, 8, 16, 2, 2, 12, 16, vocabulary=945).double()
    reference.load_state_dict(torch.load(folder / FILES[version])["state_dict"])
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.zeros(3, 16, dtype=torch.long)
    for row, prompt in zip(ids, PROMPTS, strict=True):
        tokens = tokenizer(prompt)["input_ids"]
        row[: len(tokens)] = torch.tensor(tokens)
    with torch.no_grad():
        expected = torch.cosine_similarity(reference.visual(padded(images, 16)), reference.encode_text(ids))
    scores = started(weights=version, batch_size=2)(images, PROMPTS, [{}] * 3).scores
    torch.testing.assert_close(scores, expected, rtol=0, atol=2e-6)


def test_a_file_that_is_another_network_is_refused(tmp_path: Path) -> None:
    state = torch.load(tiny_rewards.folder_of("open_clip") / FILES["v2.1"])["state_dict"]
    for changed, words in {
        "more": "holds 1 weights that this CLIPModel does not have, score_predictor.weight first",
        "less": "lacks 1 of the weights of a CLIPModel, text_model.final_layer_norm.bias first",
    }.items():
        more, less = state | {"score_predictor.weight": torch.ones(1)}, {**state}
        del less["ln_final.bias"]
        torch.save({"state_dict": more if changed == "more" else less}, tmp_path / "weights.pt")
        with pytest.raises(RewardError, match=f"^reward hpsv2 .*weights.pt {words}"):
            started(model=str(tmp_path / "weights.pt"))
    torch.save({"state_dict": state, "code": Path}, tmp_path / "weights.pt")
    with pytest.raises(RewardError, match=r"weights.pt: ValueError: it is no pickle of tensors alone"):
        started(model=str(tmp_path / "weights.pt"))
    with pytest.raises(ValueError, match=r"model: .* holds no HPS_v2.1_compressed.safetensors or HPS_v2.1"):
        make("reward", "hpsv2", model=str(tmp_path))
