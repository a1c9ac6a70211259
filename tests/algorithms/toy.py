"""A denoising problem that can be solved by hand: a linear policy on two latent dimensions, a chain of fixed noises.

x_{k+1} = W_k x_k + b_k(prompt) + std_k z, and the reward is -|x_T - target(prompt)|^2.  Whatever the policy does, the
last noise stays, so that no expected reward exceeds -2 std_{T-1}^2; a last step that always goes to the target gets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ddpo_bench.advantages.batch import Batch
from ddpo_bench.algorithms.frozen import Frozen
from ddpo_bench.copies import Copies
from ddpo_bench.protocols import (
    Algorithm,
    Conditioning,
    Metadata,
    Policy,
    Reward,
    RewardOutput,
    Rollout,
    Sampler,
    SeenPrompt,
)
from ddpo_bench.samplers.law import GaussianLaw
from ddpo_bench.training.rollout import Collector

TARGETS = {"left": (-1.5, 1.0), "right": (1.0, -1.0)}
STDS = (1.0, 0.6, 0.4, 0.3)
OPTIMUM = -2 * STDS[-1] ** 2


class ChainLaw(GaussianLaw):
    """N(model_output, std^2 I)."""

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__(std)
        self.output = mean

    def form_mean(self) -> Tensor:
        return self.output


class Chain(Sampler):
    """The model output is the mean of the next state; the timestep counts the steps that are left."""

    steps = len(STDS)
    timesteps = torch.arange(len(STDS)).flip(0)
    backend = "auto"

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> ChainLaw:
        return ChainLaw(model_output, torch.tensor(STDS, dtype=x_t.dtype)[step])

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """x_k = k / T x_0 + std_{k-1} z, without noise at the end, and the mean of the next state, (k + 1) / T x_0."""
        std = torch.tensor((1.0, *STDS[:-1], 0.0), dtype=x_0.dtype)[step]
        share, following = (((step + ahead) / len(STDS)).view(-1, 1, 1, 1) for ahead in (0, 1))
        return share * x_0 + std.view(-1, 1, 1, 1) * noise, following * x_0


class LinearPolicy(Policy):
    """W_k and b_k(prompt) in tables by timestep, in the default dtype; starts at W = 0.8 I, b = 0."""

    device = torch.device("cpu")
    guidance_scale = 1.0
    resolved_precision = torch.float32
    latent_shape = (2, 1, 1)

    def __init__(self, timesteps: int = len(STDS)) -> None:
        self.weight = nn.Parameter(0.8 * torch.eye(2).repeat(timesteps, 1, 1))  # [timesteps, 2, 2]
        self.bias = nn.Parameter(torch.zeros(timesteps, len(TARGETS), 2))
        self.copies = Copies(self.parameters())
        self.keep("pretrained")

    def seen(self, prompt: str) -> SeenPrompt:
        return SeenPrompt(prompt, 0)

    def encode(self, prompts: list[str]) -> Conditioning:
        places = torch.tensor([list(TARGETS).index(prompt) for prompt in prompts])
        one_hot = nn.functional.one_hot(places, len(TARGETS)).to(self.weight.dtype)
        return Conditioning({"prompt": one_hot}, one_hot)

    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        weight, bias = self.parameters()
        moved = torch.einsum("nij,nj->ni", weight[timesteps], x_t.flatten(1))
        shift = torch.einsum("npi,np->ni", bias[timesteps], conditioning.tensors["prompt"])
        return (moved + shift).view(-1, 2, 1, 1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    @property
    def pretrained(self) -> list[Tensor]:
        return self.copies.values["pretrained"]

    def parameters(self) -> list[nn.Parameter]:
        return [self.weight, self.bias]

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight.detach(), "bias": self.bias.detach()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight.copy_(state["weight"])
        self.bias.copy_(state["bias"])


@dataclass
class Nearness(Reward):
    """-|x_0 - target|^2, times a factor."""

    factor: float = 1.0
    targets: dict[str, tuple[float, float]] = field(default_factory=lambda: TARGETS)

    differentiable: ClassVar[bool] = True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        wanted = torch.tensor([self.targets[prompt] for prompt in prompts])
        return RewardOutput(-self.factor * (images.flatten(1) - wanted).square().sum(1).double())


def draw_rollout(
    policy: LinearPolicy,
    epoch: int = 1,
    samples: int = 32,
    micro_batch: int = 32,
    algorithm: Algorithm | None = None,
) -> Rollout:
    """The trainer's own rollout of the toy, with what an algorithm needs."""
    return collector(policy, samples, micro_batch, algorithm).collect(epoch, lambda done: None)[0]


def collector(policy: LinearPolicy, samples: int, micro_batch: int, algorithm: Algorithm | None = None) -> Collector:
    parts = (policy, Chain(), draw_prompt, Nearness(), Batch(), algorithm or Frozen())
    return Collector(*parts, samples, 1, micro_batch, seed=0)


def draw_prompt(rng: np.random.Generator) -> tuple[str, Metadata]:
    return str(rng.choice(list(TARGETS))), {}


def learn(algorithm: Algorithm, epochs: int, samples: int = 256) -> tuple[LinearPolicy, list[dict[str, float]]]:
    """Train on the toy; returns the policy and the metrics of each epoch."""
    policy = LinearPolicy()
    algorithm.start(policy, seed=0)
    source = collector(policy, samples, samples, algorithm)
    rows = [algorithm.update(policy, source.collect(epoch, lambda done: None)[0]) for epoch in range(epochs)]
    return policy, rows


def expected_reward(policy: LinearPolicy) -> float:
    """Exact, from x_T ~ N(0, I) and averaged over the prompts."""
    with torch.no_grad():
        values = [expected_value(policy, torch.zeros(1, 2), torch.eye(2), 0, prompt) for prompt in TARGETS]
    return float(torch.cat(values).mean())


def expected_value(policy: LinearPolicy, mean: Tensor, covariance: Tensor, step: int, prompt: str) -> Tensor:
    """[N]: E[reward | x_step ~ N(mean, covariance)], for means [N, 2]."""
    place, (weight, bias) = list(TARGETS).index(prompt), policy.parameters()
    for k in range(step, len(STDS)):
        t = Chain.timesteps[k]
        mean = mean @ weight[t].T + bias[t, place]
        covariance = weight[t] @ covariance @ weight[t].T + STDS[k] ** 2 * torch.eye(2)
    return -(mean - torch.tensor(TARGETS[prompt])).square().sum(1) - covariance.trace()
