"""ImageReward against its authors' network under its own names, with the processor of CLIP for the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_rewards
import torch
from every_plugin import make
from image_reward_reference import ImageRewardReference
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, CLIPImageProcessor

from ddpo_bench.reward_bases.checking import RewardError

PROMPTS = ["a frog", "two cats and a dog", " ".join(["frog"] * 40)]


def started(**options: Any) -> Any:
    reward = make("reward", "image_reward", **options)
    reward.start(torch.device("cpu"))
    return reward


def reference() -> ImageRewardReference:
    folder = tiny_rewards.folder_of("image_reward")
    tensors = torch.load(folder / "ImageReward.pt")
    model = ImageRewardReference(tiny_rewards.SIDE, tiny_rewards.PATCH, len(AutoTokenizer.from_pretrained(folder)))
    model.load_state_dict({name: tensors[name] for name in tensors if not name.endswith("position_ids")})
    return model.double().eval()


def test_scores_are_those_of_the_authors_network() -> None:
    images = torch.randint(256, (3, 3, 16, 24), generator=torch.Generator().manual_seed(0)).float() / 255
    tokenizer = AutoTokenizer.from_pretrained(tiny_rewards.folder_of("image_reward"))
    read = tokenizer(PROMPTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    pictures = [Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in images]
    side = tiny_rewards.SIDE
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pixels: Tensor = processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = reference()(pixels.double(), read["input_ids"], read["attention_mask"])
    output = started(batch_size=2)(images, PROMPTS, [{}] * 3)
    torch.testing.assert_close(output.scores, expected, rtol=0, atol=2e-6)
    assert output.info["tokens_cut"] == [0, 0, 7]  # of 40 words, a start and an end


def test_other_weights_are_refused(tmp_path: Path) -> None:
    tensors = torch.load(tiny_rewards.folder_of("image_reward") / "ImageReward.pt")
    torch.save({name: tensors[name] for name in tensors if "crossattention" not in name}, tmp_path / "ImageReward.pt")
    with pytest.raises(RewardError, match=r"no ImageReward could be read from .*ImageReward.pt: KeyError"):
        started(model=str(tmp_path))
    torch.save({name: tensors[name] for name in tensors if "blocks.1.norm1.b" not in name}, tmp_path / "ImageReward.pt")
    with pytest.raises(RewardError, match=r"lacks 1 of the weights of a BlipVisionModel, encoder.layers.1.layer_norm1"):
        started(model=str(tmp_path))
