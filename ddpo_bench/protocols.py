"""What plugins must offer, and the data that passes between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from ddpo_kernels import Backend
from torch import Tensor

from ddpo_bench.copies import Copies
from ddpo_bench.host_memory import pick
from ddpo_bench.measuring import NetworkPasses
from ddpo_bench.noise import Noise

if TYPE_CHECKING:
    from ddpo_bench.config import RunConfig

Metadata = dict[str, Any]
CopyName = Literal["pretrained", "old", "ema"]


@dataclass
class Conditioning:
    """What a policy is conditioned on, one entry a sample.

    Attributes:
        tensors: [B, ...] each, by names that only the policy that made them reads.
        pooled: [B, D], float32; for critics, which read no more of a prompt than this.
    """

    tensors: dict[str, Tensor]
    pooled: Tensor

    def __getitem__(self, index: Tensor | slice) -> Conditioning:
        return Conditioning({name: tensor[index] for name, tensor in self.tensors.items()}, self.pooled[index])

    def __len__(self) -> int:
        return len(self.pooled)

    def followed_by(self, other: Conditioning) -> Conditioning:
        """Both batches as one."""
        tensors = {name: torch.cat([tensor, other.tensors[name]]) for name, tensor in self.tensors.items()}
        return Conditioning(tensors, torch.cat([self.pooled, other.pooled]))


class Law(Protocol):
    """The Gaussian N(mean, std^2 I) of one denoising step; lazy, so that nothing is computed that nobody asks for."""

    @property
    def mean(self) -> Tensor:
        """[B, C, H, W]."""

    @property
    def std(self) -> Tensor:
        """[B]; 0 at a deterministic step, which has no density."""

    def log_prob(self, x_prev: Tensor) -> Tensor:
        """[B], mean units; differentiable in the model output, not in x_prev; means nothing where std is 0."""

    def kl(self, other: Law | Tensor) -> Tensor:
        """Exact KL to another law of the same step, [B], mean units; symmetric, because the two share std.

        It counts as 0 at a deterministic step.

        Args:
            other: the law, or its mean [B, C, H, W]; it is not differentiated.
        """

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, [B, C, H, W]; differentiable (reparameterised)."""

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_prev = mean + std * noise in the noise's dtype, and the log-prob [B] of x_prev as it is stored, the same
        bits as `log_prob` gives."""


class Sampler(Protocol):
    """Turns model outputs into transition laws over a fixed schedule of steps.

    A class that has this one as its base inherits what most samplers say.
    """

    steps: int  # of a trajectory, T
    timesteps: Tensor  # [T], as the model takes them, descending
    backend: Backend  # of what is computed from its laws

    @property
    def noisy_steps(self) -> range:
        """The steps whose laws have a std above 0, and so a density; no other one is trained.  By default all."""
        return range(self.steps)

    def for_trajectories(self) -> Sampler:
        """What draws one batch of trajectories, step by step from the first; another object where steps remember."""
        return self

    def fits(self, scheduler_config: Mapping[str, Any]) -> None:
        """Refuse the scheduler configuration of a model that cannot be sampled with this sampler and its options.

        Raises:
            ValueError: what the scheduler is and what to do, in one line that begins with the key to change.
        """

    def start(self, scheduler_config: Mapping[str, Any], device: torch.device, backend: Backend = "auto") -> None:
        """Build the schedule and keep what laws are made of.

        Args:
            backend: of the laws' arithmetic.
        """

    def law(self, model_output: Tensor, x_t: Tensor, step: Tensor, guidance_scale: float) -> Law:
        """Law of x_{t-1}.

        Args:
            model_output: [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W]; any precision.
            x_t: [B, C, H, W] float32.
            step: [B], integer index into `timesteps`; samples of one batch may be at different steps.
            guidance_scale: classifier-free guidance; 1.0 is none.
        """

    def noised(self, x_0: Tensor, noise: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The forward process: x_t at `timesteps[step]`, and what the model is to predict of it.

        Args:
            x_0, noise: [B, C, H, W], float32.
            step: [B], integer index into `timesteps`, or their number for where the last step ends.
        Returns:
            x_t and the target, [B, C, H, W] each.
        """


class SeenPrompt(NamedTuple):
    """What a policy reads of a prompt.

    Attributes:
        text: equal for two prompts that are the same to the policy; the prompt itself where it is short enough.
        tokens_cut: how many did not fit; 0 for most prompts.
    """

    text: str
    tokens_cut: int


@dataclass(frozen=True)
class Footprint:
    """What a policy needs of memory, in bytes, as far as it is known before the model is loaded.

    Attributes:
        trained: how many numbers are trained, fp32 each.
        weights: of all networks, trained and frozen, the pretrained copy among them.
        latents, conditioning: of one sample.
    """

    trained: int
    weights: int
    latents: int
    conditioning: int


@dataclass(frozen=True)
class PassCost:
    """One transition's pass through a policy's network, with guidance, and its image; as counted from configurations.

    Attributes:
        forward, backward: FLOPs, a multiplication and an addition being two; backward without what is computed again.
        decoding: FLOPs of an image.
        activations: bytes kept from a forward pass for its backward pass.
    """

    forward: int
    backward: int
    decoding: int
    activations: int


class Policy(Protocol):
    """A diffusion model with its conditioning and guidance.

    A class that has this one as its base inherits what is said of a model about which nothing is known before `start`.
    """

    device: torch.device
    guidance_scale: float
    resolved_precision: torch.dtype
    copies: Copies  # of the trained tensors, made by `start`

    def mistakes(self) -> list[str]:
        """What would keep `start` from loading the model, each line beginning with the key to change; loads nothing."""
        return []

    def architecture_mistakes(self) -> list[str]:
        """What is wrong with the networks of a model without other mistakes; may import what takes seconds."""
        return []

    def footprint(self, device: torch.device) -> Footprint | None:
        """What the model needs on a device; None where that is not known."""
        return None

    def pass_cost(self, device: torch.device, checkpointing: bool) -> PassCost | None:
        """What a pass costs on a device, before `start`; None where that is not known.

        Args:
            checkpointing: whether a backward pass computes activations again instead of keeping them.
        """
        return None

    def too_long(self, prompts: Iterable[str]) -> list[str]:
        """Those prompts that `encode` would not read to their end; also before `start`."""
        return []

    def stored_scheduler_config(self) -> Mapping[str, Any] | None:
        """As `scheduler_config`, before `start`; None where the model is not on this machine yet."""

    def start(self, device: torch.device, seed: int) -> None:
        """Load the model and make it trainable; the other members exist from then on."""

    def prepare_network(self, compile_blocks: bool, gradient_checkpointing: bool) -> None:
        """Make the trained network's passes cheaper; called once after `start`.  A policy may ignore it.

        Args:
            compile_blocks: whether the blocks that the network repeats are compiled by torch.compile.  Passes with and
                without gradients must then run the same code, or a ratio is not 1 before the first update.
            gradient_checkpointing: whether a backward pass computes activations again instead of keeping them.
        """

    def shard(self) -> None:
        """Shard the weights over the processes of the run (FSDP2); called once, after `prepare_network`.

        `parameters` are DTensors from then on.  State dicts stay whole tensors, by the same names.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot shard its weights: run it without FSDP.")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W."""

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """Of the pretrained model's noise schedule."""

    def seen(self, prompt: str) -> SeenPrompt:
        """The part of a prompt that `encode` reads."""

    def encode(self, prompts: list[str]) -> Conditioning: ...
    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Model output as the network gives it: [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], float32 in [0, 1]; differentiable in the latents."""

    def copy(self, name: CopyName) -> AbstractContextManager[None]:
        """Context in which `predict` is a copy of the policy, without gradients.

        Args:
            name: "pretrained" is the policy before any update, which a policy keeps itself in `start`; "old", a lagged
                copy, and "ema", an average, are what an algorithm makes of them by `keep` and `blend`.
        """
        return self.copies.in_place(name)

    def keep(self, name: CopyName) -> None:
        """Make, or make anew, a copy of the weights as they are."""
        self.copies.keep(name)

    def blend(self, name: CopyName, decay: float) -> None:
        """copy = decay * copy + (1 - decay) * weights."""
        self.copies.blend(name, decay)

    def save_trained(self, trained: Mapping[str, Tensor], folder: Path) -> None:
        """Write what was trained so that others load it; also before `start`.

        Args:
            trained: what `state_dict` gave, or an average of it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be exported: it has no method `save_trained`.")

    def origin(self) -> dict[str, Any]:
        """Where a started policy's model comes from, and notes on it, for the provenance of a run."""
        return {}

    def parameters(self) -> list[torch.nn.Parameter]:
        """What learning may change."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class RewardOutput:
    """Scores of a batch of images, higher is better.

    Attributes:
        scores: [N], float64.
        info: further measurements, each with N entries.
    """

    scores: Tensor
    info: dict[str, list[Any]] = field(default_factory=dict)


class Reward(Protocol):
    """Scores images; a subclass says where it differs from the defaults.

    It may have a `label`, the name by which metrics and tables know it; without one that is its registered name and the
    options that are not the default.

    Attributes:
        differentiable: whether scores carry gradients to the images.
        offline: whether it needs neither the network nor a download: such a reward is tried before a run, and with its
            default options judges every run.
        tolerance: how far, relatively, a score may move with the number of images that are scored at once.
    """

    differentiable: ClassVar[bool] = False
    offline: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-6

    def mistakes(self) -> list[str]:
        """What on this machine would keep `start` from succeeding, each line beginning with the key to change."""
        return []

    def start(self, device: torch.device) -> None:
        """Load what scoring needs; called once, before the first call."""

    def can_judge(self, prompt: str) -> bool:
        """Whether images of this prompt can be scored."""
        return True

    def __call__(self, images: Tensor, prompts: list[str], metadata: list[Metadata]) -> RewardOutput:
        """images: [N, 3, H, W], float in [0, 1]."""


@dataclass
class Trajectories:
    """Denoising trajectories, with what learning needs of the laws that drew them.

    Their means, for exact KL, are not stored: they are what is left of the latents without the noise.

    Attributes:
        latents: [N, T + 1, C, H, W] float32, x_T first; `latents[:, k + 1]` was drawn from the law at `latents[:, k]`.
            On the device, or in host memory.
        log_probs: [N, T], mean units, of the stored `latents[:, k + 1]`.
        noise: that drew them; x_T is that of step 0, and `latents[:, k + 1]` was drawn with that of step k + 1.
        first_step: where the sampler has a window, the step that is its first; T is then its length, `latents[:, 0]`
            the state at which it begins, and `latents[:, k + 1]` was drawn with the noise of step first_step + k + 1.
    """

    latents: Tensor
    log_probs: Tensor
    noise: Noise
    first_step: int = 0

    def only(self, steps: range) -> Trajectories:
        """What these steps start from and lead to, and nothing else."""
        latents, log_probs = self.latents[:, steps.start : steps.stop + 1], self.log_probs[:, steps.start : steps.stop]
        return Trajectories(latents.clone(), log_probs.clone(), self.noise, steps.start)

    def first(self, count: int) -> Trajectories:
        """The first ones alone."""
        return Trajectories(self.latents[:count], self.log_probs[:count], self.noise)


@dataclass
class Rollout:
    """What one epoch sampled, in that order.

    Attributes:
        prompts, metadata: N of each.
        conditioning: of the N samples.
        noise: that drew the samples, whether or not their trajectories are stored.
        x_0: [N, C, H, W] float32, final latents.
        rewards: [N], float64.
        advantages: [N], float32; the same for every transition of a trajectory.
        trajectories: of the behaviour policy, or None where the algorithm needs x_0 alone.
        reward: what scored the images.
        sampler: the schedule and the laws that drew them; where trajectories are stored, their noisy steps alone.
        micro_batch: samples in one forward pass of sampling; learning uses the same, because a network may round
            differently at another batch size.
        network_passes: of this epoch so far; whoever learns from the rollout adds its own.
    """

    prompts: list[str]
    metadata: list[Metadata]
    conditioning: Conditioning
    noise: Noise
    x_0: Tensor
    rewards: Tensor
    advantages: Tensor
    trajectories: Trajectories | None
    reward: Reward
    sampler: Sampler
    micro_batch: int
    network_passes: NetworkPasses = field(default_factory=NetworkPasses)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def steps(self) -> int:
        return len(self.sampler.timesteps)

    @cached_property
    def groups(self) -> list[Tensor]:
        """The samples of each prompt, int64 indices on the CPU, in the order in which the prompts were drawn."""
        places: dict[str, list[int]] = {}
        for index, prompt in enumerate(self.prompts):
            places.setdefault(prompt, []).append(index)
        return [torch.tensor(indices) for indices in places.values()]

    def states(self, samples: Tensor, steps: Tensor) -> Tensor:
        """[B, C, H, W], on the device: stored latents of samples [B] at steps [B], 0 (x_T) to T (x_0)."""
        return pick(self.latents, samples, steps, self.x_0.device)

    @property
    def latents(self) -> Tensor:
        return self.stored.latents

    @property
    def log_probs(self) -> Tensor:
        return self.stored.log_probs

    @property
    def stored(self) -> Trajectories:
        """The trajectories.

        Raises:
            LookupError: where the algorithm said that it needs x_0 alone.
        """
        if self.trajectories is None:
            raise LookupError('the rollout holds x_0 alone; set `needs = "transitions"` in the algorithm\'s class.')
        return self.trajectories


class Algorithm(Protocol):
    """Improves a policy from rollouts; owns its optimisation and all state that a resumed run needs.

    A class that has this one as its base inherits what most algorithms say.

    Attributes:
        learns: whether it changes the policy.
        learns_from_all: whether an epoch's learning grows with its samples; not where it draws from a replay.
        sharded: whether it can learn while weights are sharded (FSDP2), of which it reads no more than gradients.
        needs: what a rollout must hold: "transitions" (latents and log-probs of every step) or "x_0" alone.
    """

    learns: ClassVar[bool] = True
    learns_from_all: ClassVar[bool] = True
    sharded: ClassVar[bool] = True
    needs: ClassVar[Literal["transitions", "x_0"]] = "transitions"

    def mistakes(self, config: RunConfig) -> list[str]:
        """What in a run's other keys does not go with this algorithm, each line beginning with the key."""
        return []

    def updates(self, config: RunConfig) -> int:
        """Optimiser steps of the policy in a whole run."""

    def network_passes(self, config: RunConfig) -> tuple[int, int] | None:
        """Forward and backward passes that learning does in a whole run, for one transition each; None if not known."""
        return None

    def state_bytes(self, config: RunConfig, policy: Footprint) -> int:
        """What the state of a run holds, in memory and in a checkpoint: by default AdamW's two moments."""
        return 2 * 4 * policy.trained if self.learns else 0

    def start(self, policy: Policy, seed: int) -> None:
        """Bind to a policy before the first update: make optimisers, critics, generators."""

    def acting(self, policy: Policy) -> AbstractContextManager[None]:
        """Context in which `policy` is the one that samples rollouts; by default the one that is trained."""
        return nullcontext()

    def update(self, policy: Policy, rollout: Rollout) -> dict[str, float]:
        """Learn from one rollout; returns metrics."""

    def probe(self, policy: Policy, rollout: Rollout) -> None:
        """The forward and backward pass of learning from every sample of a rollout at once, at its first step.

        `micro_batch: auto` tries with it how many samples fit into memory, and is refused for an algorithm that learns
        without having it; it changes nothing but gradients.
        """

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class AdvantageEstimator(Protocol):
    """Turns rewards into advantages.

    It may also have `mistakes(config: RunConfig) -> list[str]`: what in a run's other keys would leave every advantage
    0, each line beginning with the key; `clip`, the largest absolute value of an advantage; and `within_groups`,
    whether it compares only samples of the same prompt in the same epoch, as algorithms of the GRPO family require.
    """

    def update(self, prompts: list[str], rewards: Tensor) -> Tensor:
        """rewards: [N], float64; returns float32 [N]."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
