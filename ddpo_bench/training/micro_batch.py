"""How many samples go through the network at once where the configuration leaves it to the machine.

On a GPU the largest micro-batch that fits is found by trying, once a configuration: the run notes it in
provenance.json, from where it takes it when it resumes, and so do its other seeds.  Where several runs share a GPU,
each fills its share (`gpu_share`), and none takes what was found for a larger one.  On a CPU nothing is gained beyond a
few dozen samples, and memory is counted instead of tried.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ddpo_bench import processes
from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import RunConfig, without_judges
from ddpo_bench.held_out import PromptFunction
from ddpo_bench.noise import Noise
from ddpo_bench.parsing import ConfigError
from ddpo_bench.protocols import Algorithm, Conditioning, Footprint, Policy, Reward, Rollout, Sampler, Trajectories
from ddpo_bench.run_folder.status import read_config, read_provenance
from ddpo_bench.training.gpu_share import gpu_share
from ddpo_bench.training.rollout import draw_prompts

MOST_ON_A_GPU, MOST_ON_A_CPU = 256, 64
GPU_SHARE = 0.9  # of what a run may fill of a GPU: fragments, and what a later epoch allocates, need the rest
CPU_SHARE = 0.5  # of a machine's memory
FOR_PICTURES = 8  # samples at once where pictures are sampled without a run that knows


class OutOfMemory(Exception):
    """Not even a micro-batch of one sample fits."""


def resolve(trial: Trial, folder: Path | None = None, processor: str = "") -> int:
    """The micro-batch of a run: as configured, as it was before, or as large as memory allows.

    Args:
        folder: the run's; None where it has none.
        processor: of this machine, as provenance.json names it.
    Raises:
        OutOfMemory: where not even one sample fits.
    """
    config = trial.config
    if config.micro_batch != "auto":
        return config.micro_batch
    if known := processes.agreed(folder and remembered(folder, config, processor)):
        return known
    if trial.policy.device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(GPU_SHARE * gpu_share())
        try:
            return largest_that_fits(trial, min(config.samples_per_epoch, MOST_ON_A_GPU))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.reset_peak_memory_stats()  # memory_peak_mb is that of the run
    return min(config.samples_per_epoch, MOST_ON_A_CPU, processes.smallest(most_on_a_cpu(trial)))


def largest_that_fits(trial: Callable[[int], None], most: int) -> int:
    """The largest of `most`, a half of it, a quarter, ... that does not run out of memory; halves deal out evenly.

    Where several processes train the run, no one of them may run out of it.
    """
    size = most
    while not processes.smallest(fits(trial, size)):
        if size == 1:
            raise OutOfMemory(
                "micro_batch: auto: not even one sample fits into this GPU's memory. Set gradient_checkpointing: true, "
                "train adapter: {name: lora}, or use precision: bf16."
            )
        size = math.ceil(size / 2)
    return size


def fits(trial: Callable[[int], None], samples: int) -> bool:
    try:
        trial(samples)
    except torch.OutOfMemoryError:
        pass  # the memory is free only once the exception is, whose frames hold what was allocated
    else:
        return True
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return False


def most_on_a_cpu(trial: Trial) -> int:
    """How many samples' activations fit into a share of the machine's memory, which other processes do not change."""
    if not trial.algorithm.learns:
        return MOST_ON_A_CPU
    of_a_sample = max(1, saved_bytes(trial, 2) - saved_bytes(trial, 1))  # without the weights, which are saved too
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / processes.count()
    return max(1, int(CPU_SHARE * memory / of_a_sample))


def saved_bytes(trial: Trial, samples: int) -> int:
    """What autograd keeps for the backward pass of a micro-batch."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    rollout = trial.rollout(samples)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trial.learn(rollout)
    return sum(sizes.values())


def remembered(folder: Path, config: RunConfig, processor: str) -> int | None:
    """What this run, or one of the same configuration next to it, found on the same kind of processor."""
    if (own := noted(folder, processor)) is not None:
        return own
    alike = without_judges(config.to_dict()) | {"seed": None}
    for other in sorted(folder.parent.glob("*/provenance.json")):
        try:
            known = without_judges(read_config(other.parent)) | {"seed": None}
            if known == alike and (found := noted(other.parent, processor)):
                return found
        except (Damaged, ConfigError):  # another run's trouble
            continue
    return None


def noted(folder: Path, processor: str) -> int | None:
    known = read_provenance(folder)
    fits_here = known.get("processor") == processor and known.get("gpu_share", 1.0) <= gpu_share()
    return known.get("micro_batch") if fits_here else None


def for_pictures(config: RunConfig, run: Path | None) -> int:
    """The micro-batch for sampling alone, of a run or of a pretrained model."""
    if config.micro_batch != "auto":
        return config.micro_batch
    return (read_provenance(run).get("micro_batch") if run else None) or FOR_PICTURES


@dataclass(frozen=True)
class Trial:
    """One denoising step, sampled and learned from, which leaves no trace in what it tries.

    Attributes:
        on_host: whether the run keeps trajectories in host memory.
    """

    config: RunConfig
    policy: Policy
    sampler: Sampler
    prompts: PromptFunction
    reward: Reward
    algorithm: Algorithm
    on_host: bool = False

    def __call__(self, samples: int) -> None:
        """Denoise, decode and learn with this many samples at once, next to what a run holds in memory.

        Raises:
            torch.OutOfMemoryError: where they are too many.
        """
        rollout = self.rollout(samples)
        _held = torch.empty(self.held_bytes(rollout.conditioning), dtype=torch.uint8, device=self.policy.device)
        self.policy.decode(rollout.x_0)
        if self.algorithm.learns:
            self.learn(rollout)

    @torch.no_grad()
    def rollout(self, samples: int) -> Rollout:
        """Of one step, at which every trajectory seems to stay."""
        prompts, metadata = draw_prompts(self.prompts, np.random.default_rng(0), samples, 1)
        conditioning, device = self.policy.encode(prompts), self.policy.device
        x_t = torch.zeros(samples, *self.policy.latent_shape, device=device)
        step = torch.zeros(samples, dtype=torch.long, device=device)
        with self.algorithm.acting(self.policy):
            x_0, log_prob = law_of(self.policy, self.sampler, x_t, step, conditioning).draw(x_t)
        steps = len(self.sampler.timesteps)
        noise = Noise(0, 0, "rollout")
        trajectories = Trajectories(everywhere(x_0, steps + 1), everywhere(log_prob, steps), noise)
        nothing = torch.zeros(samples)
        return Rollout(
            prompts, metadata, conditioning, noise, x_0, nothing.double(), nothing.to(device),
            None if self.algorithm.needs == "x_0" else trajectories, self.reward, self.sampler, samples,
        )  # fmt: skip

    def learn(self, rollout: Rollout) -> None:
        try:
            self.algorithm.probe(self.policy, rollout)
        finally:
            for parameter in self.policy.parameters():
                parameter.grad = None

    def held_bytes(self, conditioning: Conditioning) -> int:
        """What a run holds next to the weights and a micro-batch: the algorithm's state and a rollout."""
        latents = 4 * math.prod(self.policy.latent_shape)
        text = sum(tensor[:1].nbytes for tensor in (*conditioning.tensors.values(), conditioning.pooled))
        trained = sum(parameter.numel() for parameter in self.policy.parameters())
        states = 1 if self.algorithm.needs == "x_0" or self.on_host else len(self.sampler.timesteps) + 1
        state = self.algorithm.state_bytes(self.config, Footprint(trained, 0, latents, text))
        state += 4 * trained * bool(self.config.ema)
        return state + self.config.samples_per_epoch * (states * latents + text)


def everywhere(of_one_step: Tensor, steps: int) -> Tensor:
    """[N, ...] to [N, steps, ...] without memory."""
    return of_one_step.unsqueeze(1).expand(-1, steps, *of_one_step.shape[1:])
