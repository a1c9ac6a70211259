"""Sampling and learning on a device that is not the CPU: no tensor is left behind, and none is read before the end.

The device is torch's "meta", whose tensors have no values: an operation on tensors of two devices is an error there as
on a GPU, and so is reading one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from ddpo_kernels.noise import reference_normal
from every_plugin import make, scheduler_for
from torch import Tensor, nn

from ddpo_bench.copies import Copies
from ddpo_bench.noise import Noise
from ddpo_bench.protocols import Conditioning, Metadata, Policy, Reward, RewardOutput, Rollout
from ddpo_bench.registry import names
from ddpo_bench.training.sampling import joined, reference_kl, sample_batches

DEVICE = torch.device("meta")
COUNT, STEPS = 5, 3
LEARNT = [  # all algorithms on one sampler, and on all samplers one that reads laws and one that noises x_0
    (backend, sampler, algorithm)
    for backend in ("torch", "operators")
    for sampler in names("sampler")
    for algorithm in names("algorithm")
    if sampler == "ddim" or (backend == "operators" and algorithm in ("ppo", "rwr"))
]
BRIEF = {"dpok": {"value_updates": 1}, "sac": {"critic_updates": 1, "actor_updates": 1}, "trpo": {"cg_iterations": 1}}


class OneConvolution(Policy):
    """A policy whose network is one convolution."""

    device = DEVICE
    guidance_scale = 1.0
    latent_shape = (4, 8, 8)

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.empty(4, 4, 3, 3, device=DEVICE))
        self.copies = Copies([self.weight])
        self.keep("pretrained")

    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        scale = (timesteps + 1).view(-1, 1, 1, 1) * conditioning.tensors["text"].view(-1, 1, 1, 1)
        return nn.functional.conv2d(x_t * scale, self.weight, padding=1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, :3].sigmoid()

    def parameters(self) -> list[nn.Parameter]:
        return [self.weight]


def noise_like(key: int, samples: Tensor, steps: Tensor, shape: Sequence[int]) -> Tensor:
    """In the place of the torch reference, of whose hundreds of operations each one takes long on this device."""
    return (samples + steps).float().view(-1, *[1] * len(shape)).repeat(1, *shape)


class Brightness(Reward):
    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        return RewardOutput(images.mean((1, 2, 3)))


@pytest.fixture(params=["torch", "operators"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the torch reference, and by the operators of the kernels, of which the shapes, dtypes and devices are told."""
    if request.param == "operators":
        monkeypatch.setattr("ddpo_kernels.backend.unavailable", lambda device: None)
    else:
        monkeypatch.setattr("ddpo_kernels.noise.reference_normal", noise_like)
    return str(request.param)


@pytest.fixture(params=names("sampler"))
def sampled(request: pytest.FixtureRequest, backend: str) -> SimpleNamespace:
    return sampled_by(request.param, backend)


@cache  # learning changes no value, since there are none
def sampled_by(name: str, backend: str) -> SimpleNamespace:
    policy, sampler = OneConvolution(), make("sampler", name, steps=STEPS)
    sampler.start(scheduler_for(sampler), DEVICE)
    text = torch.empty(COUNT, device=DEVICE)
    conditioning = Conditioning({"text": text}, text[:, None])
    drawn = joined(sample_batches(policy, sampler, conditioning, 2, Noise(0, 1, "rollout")), COUNT)
    return SimpleNamespace(policy=policy, sampler=sampler, conditioning=conditioning, drawn=drawn)


def test_noise_is_on_the_device() -> None:
    samples = torch.arange(COUNT, device=DEVICE)
    assert reference_normal(0, samples, samples, (4, 8, 8)).device == DEVICE


def test_sampling_is_on_the_device(sampled: SimpleNamespace) -> None:
    assert {sampled.drawn.latents.device, sampled.drawn.log_probs.device} == {DEVICE}
    with pytest.raises(RuntimeError, match="meta"):  # only its result is read
        reference_kl(sampled.policy, sampled.sampler, sampled.drawn, sampled.conditioning, 2)


@pytest.mark.parametrize(("backend", "sampled", "name"), LEARNT, indirect=["backend", "sampled"])
def test_learning_is_on_the_device(sampled: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two updates, in which values that are read, for metrics above all, are made up."""
    for read in ("item", "__float__"):
        monkeypatch.setattr(Tensor, read, lambda self: 0.0)
    read_list = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: [1] * len(self) if self.device == DEVICE else read_list(self))
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)  # which is fused, and so not for every device
    algorithm = make("algorithm", name, **BRIEF.get(name, {}))
    algorithm.start(sampled.policy, 0)
    rollout = Rollout(
        [""] * COUNT, [{}] * COUNT, sampled.conditioning, Noise(0, 1, "rollout"), sampled.drawn.latents[:, -1],
        torch.empty(COUNT), torch.empty(COUNT, device=DEVICE), sampled.drawn, Brightness(), sampled.sampler, 2,
    )  # fmt: skip
    for _ in range(2):  # sac's actor begins with the second
        algorithm.update(sampled.policy, rollout)
