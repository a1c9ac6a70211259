"""Reward functions as they were written for ddpo-pytorch, TRL and flow_grpo work unchanged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpo_bench.config import run_config
from ddpo_bench.preflight.checks import trial_of
from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import score
from ddpo_bench.reward_bases.reward_error import RewardError

HEAD = """
from __future__ import annotations
from collections.abc import Sequence
from typing import TYPE_CHECKING
import functools
import numpy as np, numpy.typing as npt, torch, PIL.Image
from PIL import Image
from torch import Tensor
if TYPE_CHECKING: import absent
"""
SAID = """    first = images[0]
    said = {"kind": [type(images).__name__] * len(images), "first": [type(first).__name__] * len(images)}
    return [float(np.asarray(image).mean()) for image in images], said
"""
MADE = """
def plain():  # as in ddpo-pytorch
    def _fn(images, prompts, metadata):
        images = (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy().transpose(0, 2, 3, 1)
        return np.array([image.mean() for image in images]), {}
    return _fn
def negated():
    made = plain()
    def _fn(images, prompts, metadata):
        scores, info = made(images, prompts, metadata)
        return -scores, info
    return _fn
def placed(device):  # as in flow_grpo
    assert isinstance(device, torch.device)
    def _fn(images: list[Image.Image], prompts, metadata, only_strict=True):
        return [float(np.asarray(image).mean()) for image in images], {}
    return _fn
class Scorer(torch.nn.Module):
    def __init__(self, device="cuda"):
        super().__init__()
        self.place = device
    def forward(self, images, prompts, metadata):
        return images.mean(dim=(1, 2, 3)).to(self.place), {}
def aesthetic_scorer(hub_model_id, model_filename):  # as in TRL: called by its user
    def _fn(images, prompts, metadata):
        images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        return images.double().mean(dim=(1, 2, 3)), {}
    return _fn
trl = aesthetic_scorer("trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth")
bound = functools.partial(lambda scale, images, prompts, metadata: images.mean(dim=(1, 2, 3)) * scale, 2.0)
def too_few(images, prompts): return [0.0] * len(prompts)
def empty(): pass
def odd(): return too_few
def without_gpu(): raise RuntimeError("no GPU is visible")
"""


def module_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "ported.py").write_text(HEAD + text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ported", raising=False)


@pytest.mark.parametrize(
    ("annotation", "kind", "first"),
    [
        ("", "Tensor", "Tensor"),
        (": Tensor | np.ndarray", "Tensor", "Tensor"),
        (": absent.Images", "Tensor", "Tensor"),
        (": np.ndarray", "ndarray", "ndarray"),
        (": npt.NDArray[np.uint8]", "ndarray", "ndarray"),
        (": Sequence[PIL.Image.Image]", "list", "Image"),
        (": absent.Some[Image.Image]", "list", "Image"),
    ],
)
def test_images_are_what_the_annotation_says(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotation: str, kind: str, first: str
) -> None:
    module_of(tmp_path, monkeypatch, f"def look(images{annotation}, prompts: list[str], metadata):\n{SAID}")
    output = score(get("reward", "python")("ported:look"), images, [""] * 4, [{}] * 4)
    assert output.info == {"kind": [kind] * 4, "first": [first] * 4}
    bits = (images.double() * 255).round()
    mean = (bits if kind != "Tensor" else images.double()).mean(dim=(1, 2, 3))
    torch.testing.assert_close(output.scores, mean, rtol=1e-6, atol=0)


def test_arrays_and_pictures_have_the_pixels_where_they_belong(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def array(images: np.ndarray, p, m): return images[:, 3, 7, 2]\n"
    text += "def pil(images: list[Image.Image], p, m): return [image.getpixel((7, 3))[2] for image in images]\n"
    module_of(tmp_path, monkeypatch, text)
    expected = (images[:, 2, 3, 7].double() * 255).round().tolist()
    for name in ("array", "pil"):
        assert score(get("reward", "python")(f"ported:{name}"), images, [""] * 4, [{}] * 4).scores.tolist() == expected


@pytest.mark.parametrize("name", ["plain", "negated", "placed", "Scorer", "trl", "bound"])
def test_a_factory_makes_the_function_and_a_function_is_called_as_it_is(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module_of(tmp_path, monkeypatch, MADE)
    reward = get("reward", "python")(f"ported:{name}")
    reward.start(torch.device("cpu"))
    scale = {"negated": -255, "Scorer": 1, "bound": 2}.get(name, 255)
    mean = images.double().numpy().mean(axis=(1, 2, 3)) * scale
    np.testing.assert_allclose(score(reward, images, [""] * 4, [{}] * 4).scores.numpy(), mean, rtol=2e-3)
    assert reward.label == f"ported:{name}"


@pytest.mark.parametrize("name", ["too_few", "aesthetic_scorer"])
def test_a_function_that_can_be_called_neither_way_is_refused_with_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module_of(tmp_path, monkeypatch, MADE)
    takes = r"function: ported:\w+ takes \((images, prompts|hub_model_id, model_filename)\); write a function of"
    with pytest.raises(ValueError, match=takes):
        get("reward", "python")(f"ported:{name}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "TypeError: it returned NoneType, not a function of (images, prompts, metadata)"),
        ("odd", "ValueError: takes (images, prompts); write a function of"),
        ("without_gpu", "RuntimeError: no GPU is visible (ported.py, line 43, in without_gpu)"),
    ],
)
def test_a_factory_that_makes_none_is_told_when_it_starts_and_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    module_of(tmp_path, monkeypatch, MADE)
    with pytest.raises(RewardError, match=rf"^reward ported:{name}: ") as error:
        get("reward", "python")(f"ported:{name}").start(torch.device("cpu"))
    assert reason in str(error.value)
    assert trial_of(run_config({"reward": f"python:ported:{name}"}, "test")) == str(error.value)
