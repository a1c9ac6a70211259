"""Published architectures: as large as their makers say, and given what their pipelines give them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ddpo_bench.architectures import published
from ddpo_bench.architectures.build import build, parameters
from ddpo_bench.architectures.passes import output, random_conditioning
from ddpo_bench.architectures.published import Architecture, UnknownArchitecture, architecture, of_hub_model

MILLIONS = {  # of parameters, by the models' cards and papers
    ("sd15", "unet"): 859.5,
    ("sd15", "vae"): 83.7,
    ("sd15", "text_encoder"): 123.1,
    ("sd21", "unet"): 865.9,
    ("sd21", "text_encoder"): 340.4,
    ("sdxl", "unet"): 2567.5,
    ("sdxl", "text_encoder_2"): 694.7,
    ("sd35m", "transformer"): 2243.2,
    ("sd35m", "vae"): 83.8,
    ("sd35m", "text_encoder_3"): 4762.3,
    ("flux-dev", "transformer"): 11901.4,
    ("flux-dev", "text_encoder_2"): 4762.3,
}
LATENTS = {
    "sd15": (4, 64, 64),
    "sd21": (4, 96, 96),
    "sdxl": (4, 128, 128),
    "sd35m": (16, 128, 128),
    "flux-dev": (16, 128, 128),
}
SMALL = {
    "UNet2DConditionModel": {"block_out_channels": [32, 64], "layers_per_block": 1, "norm_num_groups": 8},
    "SD3Transformer2DModel": {
        "num_layers": 2,
        "dual_attention_layers": [0],
        "num_attention_heads": 2,
        "caption_projection_dim": 128,
    },
    "FluxTransformer2DModel": {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2},
}


@pytest.mark.parametrize(("name", "part"), MILLIONS)
def test_networks_have_as_many_parameters_as_their_makers_say(name: str, part: str) -> None:
    assert parameters(name, part) / 1e6 == pytest.approx(MILLIONS[name, part], abs=0.06)


@pytest.mark.parametrize("name", published.NAMES)
def test_latents_and_conditioning_fit_the_network(name: str) -> None:
    model = small(architecture(name))
    assert model.latent_shape == LATENTS[name]
    network = build(model, model.network, "cpu")
    x_t = torch.randn(2, model.latent_shape[0], 8, 8, requires_grad=True)
    tensors = {key: tensor[:, :7] if tensor.ndim == 3 else tensor for key, tensor in conditioning(model).items()}
    made = output(model, network, x_t, torch.tensor([999, 1]), tensors)
    assert made.shape == x_t.shape
    assert made.isfinite().all()
    assert torch.autograd.grad(made.sum(), x_t)[0].abs().sum() > 0


@pytest.mark.parametrize("name", published.NAMES)
def test_a_pass_reads_no_value_and_stays_on_its_device(name: str) -> None:
    """On a GPU it would wait; the meta device has no values, and mixes with no other."""
    model = small(architecture(name))
    tensors = random_conditioning(model, 2, "meta")
    x_t, timesteps = torch.empty(2, model.latent_shape[0], 8, 8, device="meta"), torch.zeros(2, device="meta")
    assert output(model, build(model, model.network, "meta"), x_t, timesteps, tensors).shape == x_t.shape


def test_flux_packs_and_unpacks_its_latents_without_moving_any() -> None:
    model = architecture("flux-dev")
    x_t = torch.randn(2, 16, 8, 12)

    def same(hidden_states: torch.Tensor, **given: torch.Tensor) -> tuple[torch.Tensor]:
        assert hidden_states.shape == (2, 4 * 6, 64)
        assert given["img_ids"].tolist()[7] == [0, 1, 1]  # the second of six columns in the second row
        return (hidden_states,)

    assert torch.equal(output(model, same, x_t, torch.zeros(2), conditioning(model)), x_t)  # type: ignore[arg-type]


def test_weights_are_made_in_the_precision_asked_for_and_the_default_is_left_alone() -> None:
    model = small(architecture("sd15"))
    assert {weight.dtype for weight in build(model, "unet", "cpu", torch.float16).parameters()} == {torch.float16}
    assert torch.get_default_dtype() is torch.float32


def test_architectures_are_found_by_their_names_on_the_hub() -> None:
    found = of_hub_model("CompVis/stable-diffusion-v1-4")
    assert found is architecture("sd15")
    assert of_hub_model("someone/else") is None
    with pytest.raises(UnknownArchitecture, match="Did you mean 'sd15'"):
        architecture("sd1.5")


def conditioning(model: Architecture) -> dict[str, torch.Tensor]:
    return random_conditioning(model, 2, "cpu", torch.Generator().manual_seed(0))


def small(model: Architecture) -> Architecture:
    """The architecture with fewer and narrower layers, but the same inputs."""
    config = dict(model.network_config)
    smaller = SMALL[config["_class_name"]]
    if "down_block_types" in config:
        kept = {"down_block_types": config["down_block_types"][:2], "up_block_types": config["up_block_types"][-2:]}
        heads = config["attention_head_dim"]
        kept |= {"attention_head_dim": heads[:2]} if isinstance(heads, list) else {}
        kept |= {"transformer_layers_per_block": [1, 1]} if "transformer_layers_per_block" in config else {}
        smaller = smaller | kept
    return dataclasses.replace(model, parts=model.parts | {model.network: config | smaller})
