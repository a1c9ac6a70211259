"""Frozen networks are on the device only while they are used; copies in host memory stand for those on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpo_bench.policies import offloading
from ddpo_bench.policies.diffusers_policy import DECODED_AT_ONCE
from ddpo_bench.policies.offloading import Offloading
from ddpo_bench.policies.stable_diffusion import StableDiffusion

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class Networks:
    """A text encoder and a VAE, and which of their tensors are copies."""

    def __init__(self) -> None:
        self.modules = {"text_encoder": nn.Linear(2, 2), "vae": nn.BatchNorm1d(3)}
        self.held = {tensor.data_ptr() for module in self.modules.values() for tensor in module.state_dict().values()}
        for module in self.modules.values():
            module.requires_grad_(False)

    @property
    def on_device(self) -> set[str]:
        found = {name: self.are_copies(module) for name, module in self.modules.items()}
        return {name for name, copies in found.items() if copies}

    def are_copies(self, module: nn.Module) -> bool:
        (copies,) = {tensor.data_ptr() not in self.held for tensor in module.state_dict().values()}
        return copies


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Networks:
    def copy_of(host: Tensor, device: torch.device) -> Tensor:
        assert device == GPU
        return host.clone()

    monkeypatch.setattr(offloading, "copy_of", copy_of)
    return Networks()


def test_what_is_used_is_brought_and_the_rest_goes(networks: Networks) -> None:
    given = torch.randn(4, 2)
    expected, manager = networks.modules["text_encoder"](given), Offloading(networks.modules, GPU)
    assert networks.on_device == set()
    for name in ("text_encoder", "vae", "vae", "text_encoder"):
        manager.bring(name)
        assert networks.on_device == {name}
    assert torch.equal(networks.modules["text_encoder"](given), expected)
    manager.bring()
    assert networks.on_device == set()
    manager.bring("text_encoder", "vae")
    assert networks.on_device == {"text_encoder", "vae"}


def test_what_a_backward_pass_may_need_stays(networks: Networks) -> None:
    manager = Offloading(networks.modules, GPU)
    manager.bring("vae", for_backward=True)
    manager.bring()
    manager.bring("text_encoder")
    assert networks.on_device == {"text_encoder", "vae"}


def test_nothing_moves_on_a_cpu(networks: Networks) -> None:
    manager = Offloading(networks.modules, CPU)
    manager.bring("vae", for_backward=True)
    manager.bring()
    assert networks.on_device == set()


def test_a_policy_brings_what_it_uses(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, brought = StableDiffusion(str(tiny_model)), []
    policy.start(CPU, seed=0)
    monkeypatch.setattr(
        policy.offloading, "bring", lambda *names, for_backward=False: brought.append((*names, for_backward))
    )
    conditioning = policy.encode(["a dog", "a dog"])
    policy.encode(["a dog"])
    latents = torch.zeros(2, *policy.latent_shape)
    policy.predict(latents, torch.tensor([700, 3]), conditioning)
    policy.decode(latents)
    policy.decode(latents.requires_grad_())
    assert brought == [("text_encoder", False), (False,), ("vae", False), ("vae", True)]


def test_images_are_decoded_some_at_a_time(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, sizes = StableDiffusion(str(tiny_model)), []
    policy.start(CPU, seed=0)
    latents = torch.randn(5, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    policy.pipeline.vae.decoder.register_forward_pre_hook(lambda decoder, given: sizes.append(len(given[0])))
    whole = policy.decode(latents)
    monkeypatch.setattr("ddpo_bench.policies.diffusers_policy.DECODED_AT_ONCE", 2 * latents[0, 0].numel())
    latents.requires_grad_()
    images = policy.decode(latents)
    assert sizes == [5, 2, 2, 1]
    torch.testing.assert_close(images, whole)
    (gradient,) = torch.autograd.grad(images.sum(), latents)
    assert (gradient.flatten(1) != 0).any(1).all()
    assert DECODED_AT_ONCE // (64 * 64) == 4
