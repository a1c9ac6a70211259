"""Learned rewards against plain calls of transformers, in float64 where it can, on random tiny models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import tiny_rewards
import torch
import transformers
from every_plugin import make
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ddpo_bench.config import run_config
from ddpo_bench.registry import label
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.reward_bases.image_text_model import pooled, prepare_by

PROMPTS = ["a frog", "Two Cats", "a frog", "three frogs on a blue dotted background"]
CPU = torch.device("cpu")


def started(name: str, **options: Any) -> Any:
    reward = make("reward", name, **options)
    reward.start(CPU)
    return reward


def eight_bit(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(1)).float() / 255


def processed(folder: Path, images: Tensor) -> Tensor:
    """By the model's own processor, from Pillow's images."""
    pictures = [Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()) for image in images]
    return transformers.AutoImageProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")["pixel_values"]


def embeddings(part: str, images: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor, Any]:
    """Of images and prompts, of length 1, and their model; each prompt is read alone and without padding."""
    folder = tiny_rewards.folder_of(part)
    kind = transformers.CLIPModel if part == "clip" else transformers.SiglipModel
    model = kind.from_pretrained(folder).eval()
    read = transformers.AutoTokenizer.from_pretrained(folder)
    padding = (
        {"padding": "max_length", "max_length": tiny_rewards.TOKENS, "truncation": True} if part == "siglip" else {}
    )
    with torch.no_grad():
        ids = [read(prompt, return_tensors="pt", **padding)["input_ids"] for prompt in prompts]
        texts = torch.cat([model.text_model(one).pooler_output for one in ids])  # transformers 4 masks in fp32 alone
        pictures = model.double().vision_model(processed(folder, images).double()).pooler_output
        if part == "clip":
            pictures, texts = model.visual_projection(pictures), model.text_projection(texts.double())
    texts = texts.double()
    return pictures / pictures.norm(dim=1, keepdim=True), texts / texts.norm(dim=1, keepdim=True), model


@pytest.mark.parametrize("name", ["clip_score", "pickscore", "siglip_score"])
def test_scores_are_those_of_the_formula(name: str) -> None:
    images = eight_bit(4, 3, tiny_rewards.SIDE, tiny_rewards.SIDE)
    prompts = [prompt.lower() for prompt in PROMPTS]
    pictures, texts, model = embeddings("siglip" if name == "siglip_score" else "clip", images, prompts)
    expected = torch.stack([picture @ text for picture, text in zip(pictures, texts, strict=True)])
    if name != "clip_score":
        expected = expected * model.logit_scale.detach().exp()
    if name == "siglip_score":
        expected = expected + model.logit_bias.detach()
    output = started(name, batch_size=3)(images, PROMPTS, [{}] * 4)
    torch.testing.assert_close(output.scores, expected, rtol=1e-5, atol=1e-6)
    if name == "siglip_score":
        torch.testing.assert_close(torch.tensor(output.info["probability"]).double(), 1 / (1 + torch.exp(-expected)))


def test_aesthetic_ratings_are_those_of_the_predictor() -> None:
    """As its authors build it: dropout, which evaluation turns off, and no activations."""
    images = eight_bit(4, 3, tiny_rewards.SIDE, tiny_rewards.SIDE)
    shapes, drop = tiny_rewards.HEAD, nn.Dropout(0.2)
    linear = {number: nn.Linear(read, made) for number, (made, read) in shapes.items()}
    layers = nn.Sequential(linear[0], drop, linear[2], drop, linear[4], drop, linear[6], linear[7])
    predictor = nn.ModuleDict({"layers": layers})
    predictor.load_state_dict(load_file(tiny_rewards.folder_of("head") / "model.safetensors"))
    pictures, _, _ = embeddings("clip", images, PROMPTS)
    expected = predictor.double().eval()["layers"](pictures).squeeze(1).detach()
    torch.testing.assert_close(started("aesthetic")(images, PROMPTS, [{}] * 4).scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", ["clip", "siglip"])
@pytest.mark.parametrize("size", [(24, 40), (61, 33), (12, 11)])
def test_preparation_differs_from_the_processors_by_its_rounding(part: str, size: tuple[int, int]) -> None:
    """By less than one and a half steps of 8 bits: the processor rounds after each direction of the resize."""
    folder, images = tiny_rewards.folder_of(part), eight_bit(3, 3, *size)
    prepare = prepare_by(folder)
    expected, found = processed(folder, images), prepare(images)
    assert found.shape == expected.shape
    steps = (found - expected).abs() * torch.tensor(prepare.std)[:, None, None] * 255
    assert steps.max() < 1.5
    assert steps.mean() < 0.5


def test_what_a_model_does_not_read_of_a_prompt_is_counted(images: Tensor) -> None:
    reward, words = started("clip_score"), " ".join(["frog"] * 30)
    output = reward(images[:2], [words, f"{words} cat"], [{}] * 2)
    same = reward(images[:1].repeat(2, 1, 1, 1), [words, f"{words} cat"], [{}] * 2).scores
    assert output.info["tokens_cut"] == [16, 17]  # of 30 and 31 words, the start and the end
    assert same[0] == same[1]


def test_features_of_both_versions_of_transformers_are_read() -> None:
    features = torch.rand(2, 3)
    output = transformers.modeling_outputs.BaseModelOutputWithPooling(pooler_output=features)
    assert pooled(features) is pooled(output) is features


def test_a_pickle_of_tensors_is_read_and_one_with_code_refused(tmp_path: Path, images: Tensor) -> None:
    tensors = load_file(tiny_rewards.folder_of("head") / "model.safetensors")
    torch.save(tensors, tmp_path / "head.pth")
    found = started("aesthetic", head=str(tmp_path / "head.pth"))(images, PROMPTS, [{}] * 4)
    assert torch.equal(found.scores, started("aesthetic")(images, PROMPTS, [{}] * 4).scores)
    torch.save(tensors | {"code": Path}, tmp_path / "head.pth")
    with pytest.raises(
        RewardError, match=r"^reward aesthetic .*head.pth: ValueError: it is no pickle of tensors alone"
    ):
        started("aesthetic", head=str(tmp_path / "head.pth"))


def test_a_head_for_other_embeddings_is_refused(tmp_path: Path) -> None:
    save_file({"0.weight": torch.ones(1, 5), "0.bias": torch.ones(1)}, tmp_path / "head.safetensors")
    with pytest.raises(RewardError, match="reads embeddings of 5 numbers; the model's have 12"):
        started("aesthetic", head=str(tmp_path))
    save_file({"0.weight": torch.ones(2, 12), "0.bias": torch.ones(2)}, tmp_path / "head.safetensors")
    with pytest.raises(RewardError, match="must hold linear layers"):
        started("aesthetic", head=str(tmp_path))


def test_a_wrong_place_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RewardError) as raised:
        started("clip_score", model="nobody/has-this", revision="v1")
    assert str(raised.value).startswith("reward clip_score model=nobody:has-this revision=v1: nobody/has-this at v1 ")
    assert len(str(raised.value).splitlines()) == 1
    for wrong, words in {
        "no folder": "'no folder' is neither a folder nor a hub name",
        str(tmp_path): "has no readable config.json",
        str(tiny_rewards.folder_of("siglip")): "holds a model of type siglip; it must be of type clip",
    }.items():
        with pytest.raises(ValueError, match=words):
            make("reward", "clip_score", model=wrong)
    with pytest.raises(ValueError, match="device: expected one such as cpu"):
        make("reward", "clip_score", device="gpu0")


def test_a_model_with_a_weight_missing_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_rewards.folder_of("clip"), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RewardError, match=r"lacks 1 of the weights of a CLIPModel, visual_projection.weight first"):
        started("clip_score", model=str(folder))


def test_the_files_of_a_model_are_the_identity_of_a_run_and_its_place_is_not(tmp_path: Path) -> None:
    options = tiny_rewards.options_of("aesthetic")
    moved = {option: str(shutil.copytree(path, tmp_path / option)) for option, path in options.items()}
    first, second = (run_config({"reward": {"name": "aesthetic"} | places}, "run") for places in (options, moved))
    assert {*first.inputs()} > {"reward.model", "reward.head"}
    assert first.identity() == second.identity()
    (tmp_path / "model" / "preprocessor_config.json").write_text("{}")
    assert run_config({"reward": {"name": "aesthetic"} | moved}, "run").identity() != first.identity()


def test_neither_device_nor_batch_size_is_part_of_the_name() -> None:
    assert label("reward", make("reward", "siglip_score", device="cpu", batch_size=2, revision="main")).startswith(
        "siglip_score model="
    )
    assert "device" not in label("reward", make("reward", "clip_score", device="cpu"))


@pytest.mark.parametrize("name", ["pickscore", "image_reward"])
def test_an_offloaded_model_is_on_its_device_only_while_it_scores(
    name: str, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward, moves = make("reward", name), []
    reward.start(torch.device("cpu"))
    expected = score(reward, images, ["a frog"] * len(images), [{}] * len(images)).scores
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moves.append(str(device)))
    reward.offload, reward.placed = True, torch.device("cuda")
    assert torch.equal(score(reward, images, ["a frog"] * len(images), [{}] * len(images)).scores, expected)
    assert moves == sorted(moves, reverse=True) != []  # all to the device, then all back
    assert set(moves) == {"cuda", "cpu"}
