"""Any StableDiffusionPipeline folder as a policy, on a random tiny model."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.loading import ModelNotFound
from ddpo_bench.policies.precision import choose_attention
from ddpo_bench.policies.stable_diffusion import StableDiffusion

CPU = torch.device("cpu")
VARIANTS = list(itertools.product(["full", "lora"], [1.0, 3.0], ["fp32", "bf16"]))


def started(model: Path, adapter: str = "full", guidance: float = 1.0, precision: str = "fp32") -> StableDiffusion:
    policy = StableDiffusion(str(model), Adapter(adapter), guidance, precision)  # type: ignore[arg-type]
    policy.start(CPU, seed=0)
    return policy


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(map(str, variant)))
def policy(request: pytest.FixtureRequest, tiny_model: Path) -> StableDiffusion:
    return started(tiny_model, *request.param)


def predict(policy: StableDiffusion) -> Tensor:
    x_t = torch.randn(2, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    return policy.predict(x_t, torch.tensor([700, 3]), policy.encode(["a dog", "two cats"]))


def test_guidance_predicts_for_the_empty_prompt_and_the_prompt(policy: StableDiffusion) -> None:
    output = predict(policy)
    assert output.dtype == policy.resolved_precision
    assert output.shape == ((4 if policy.guided else 2), *policy.latent_shape)
    if policy.guided:
        unconditional, conditional = output.chunk(2)
        assert not torch.equal(unconditional, conditional)


def test_attention_is_chosen_for_the_precision_on_a_cpu(policy: StableDiffusion) -> None:
    processors = {type(processor).__name__ for processor in policy.network.attn_processors.values()}
    assert processors == {"AttnProcessor" if policy.precision == "bf16" else "NarrowAttnProcessor"}
    if policy.precision == "fp32":
        choose_attention(policy.network, torch.device("cuda"), torch.bfloat16)
        assert {type(each).__name__ for each in policy.network.attn_processors.values()} == processors


def test_a_checkpoint_of_another_adapter_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="other tensors"):
        started(tiny_model, "full").load_state_dict(started(tiny_model, "lora").state_dict())


def test_full_training_changes_every_weight_of_the_unet_alone(tiny_model: Path) -> None:
    policy = started(tiny_model)
    assert len(policy.parameters()) == len(list(policy.network.parameters()))
    frozen = [*policy.pipeline.vae.parameters(), *policy.pipeline.text_encoder.parameters()]
    assert not any(parameter.requires_grad for parameter in [*frozen, *policy.copies.values["pretrained"]])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lora_trains_the_adapters_alone_in_float32(tiny_model: Path, precision: str) -> None:
    policy = started(tiny_model, "lora", precision=precision)
    assert policy.state_dict()
    assert all(".lora_" in name for name in policy.state_dict())
    assert all(parameter.dtype == torch.float32 for parameter in policy.parameters())
    assert sum(p.numel() for p in policy.parameters()) < sum(p.numel() for p in policy.network.parameters()) / 10


def test_lora_starts_from_the_seed(tiny_model: Path) -> None:
    first, same, other = (StableDiffusion(str(tiny_model), Adapter("lora")) for _ in range(3))
    for policy, seed in ((first, 0), (same, 0), (other, 1)):
        policy.start(CPU, seed)
    pairs = zip(first.parameters(), same.parameters(), other.parameters(), strict=True)
    agreement = [(torch.equal(a, b), torch.equal(a, c)) for a, b, c in pairs]
    assert all(same for same, _ in agreement)
    assert not all(different for _, different in agreement)


def test_images_have_the_size_that_the_decoder_makes(tiny_model: Path) -> None:
    policy = started(tiny_model)
    assert policy.decode(torch.zeros(3, *policy.latent_shape)).shape == (3, 3, 16, 16)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", ["/no/such/folder", "no-such-folder", "./no/such/folder", "models/a/b", ""])
def test_a_missing_model_is_refused_in_one_line_without_the_network(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(model)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "index", [None, "", "{}", '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "X"]}']
)
def test_a_folder_that_no_pipeline_saved_is_refused_in_one_line(tmp_path: Path, index: str | None) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    assert_refused(str(tmp_path))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_torn_weights_are_refused_in_one_line(tiny_model: Path, tmp_path: Path, part: str) -> None:
    import shutil

    folder = tmp_path / "torn"
    shutil.copytree(tiny_model, folder)
    weights = next((folder / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    assert_refused(str(folder))


def assert_refused(model: str) -> None:
    with pytest.raises(ModelNotFound, match=r"policy\.model: ") as raised:
        StableDiffusion(model).start(CPU, seed=0)
    assert "\n" not in str(raised.value)
