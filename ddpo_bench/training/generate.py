"""Images sampled from the pretrained model, from a trained run or from what was exported of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpo_bench import processes
from ddpo_bench.choices import to_plain
from ddpo_bench.config import RunConfig
from ddpo_bench.noise import Noise
from ddpo_bench.parsing import Choice, ConfigError, choose
from ddpo_bench.protocols import Policy
from ddpo_bench.training.checkpoint import load_newest
from ddpo_bench.training.ema import load_averages
from ddpo_bench.training.evaluation import to_pixels
from ddpo_bench.training.micro_batch import for_pictures
from ddpo_bench.training.sampling import decode_in_batches, final_latents, sample_batches
from ddpo_bench.training.trainer import start_policy


class NoCheckpoint(Exception):
    """A run folder has no checkpoint to sample from."""


def sample_images(config: RunConfig, prompts: list[str], seed: int, run: Path | None) -> np.ndarray:
    """Sample one image for each prompt.

    Args:
        config: the configuration of the policy and the sampler.
        prompts: the prompts.
        seed: seed of the noise.
        run: a run's folder, whose newest checkpoint is sampled; None for the model of the configuration.
    Returns:
        uint8 [N, H, W, 3].
    Raises:
        NoCheckpoint: where the run has none.
    """
    policy, sampler = start_policy(config, processes.device())
    if run is not None:
        load_trained(policy, run)
    micro_batch, noise = for_pictures(config, run), noise_of_pictures(seed)
    x_0 = final_latents(sample_batches(policy, sampler, policy.encode(prompts), micro_batch, noise), len(prompts))
    return to_pixels(decode_in_batches(policy, x_0, micro_batch))


def noise_of_pictures(seed: int) -> Noise:
    return Noise(seed, 0, "rollout")  # a training's epochs begin with 1


def load_trained(policy: Policy, run: Path) -> None:
    """Give a started policy the weights of a run's newest checkpoint, or their average where the run keeps one (`ema`).

    Raises:
        NoCheckpoint: where the run has none.
    """
    state = state_of(run, torch.device("cpu"))
    if "policy" in state:  # before the first epoch it is the pretrained model
        policy.load_state_dict(state["policy"])
    if "ema" in state:
        load_averages(policy.parameters(), state["ema"])


def state_of(run: Path, device: torch.device) -> dict[str, Any]:
    """The state in the newest checkpoint of a run.

    Raises:
        NoCheckpoint: where it has none.
    """
    state = load_newest(run, device)
    if state is None:
        raise NoCheckpoint(f"{run}: holds no checkpoint; is it the folder of a run (…/seed-<k>)?")
    return state


def of_export(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration of a run with what was exported of it in place of the model that it began with.

    Args:
        folder: that `export_weights` wrote.
    """
    options = config.policy.options
    if options["adapter"].name == "lora":
        changed = {"adapter": dataclasses.replace(options["adapter"], from_=str(folder))}
    else:
        changed = {"model": str(folder), "revision": None}
    return dataclasses.replace(config, policy=dataclasses.replace(config.policy, options=options | changed))


def sampled_with(
    config: RunConfig, steps: int | None = None, guidance_scale: float | None = None, eta: float | None = None
) -> RunConfig:
    """A configuration for pictures: with other steps, guidance or eta where they are given, and never compiled.

    The algorithm's demands on the sampler do not matter to pictures, and are not checked.

    Raises:
        ConfigError: where the policy or the sampler does not take one of them.
    """
    mistakes: list[str] = []
    sampler = changed(config.sampler, {"steps": steps, "eta": eta}, mistakes)
    policy = changed(config.policy, {"guidance_scale": guidance_scale}, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return dataclasses.replace(config, sampler=sampler, policy=policy, compile="none")


def changed(choice: Choice, given: Mapping[str, float | None], mistakes: list[str]) -> Choice:
    """A choice with the options that are not None, and without a window, which pictures do not have."""
    options = to_plain(choice.options) | {name: value for name, value in given.items() if value is not None}
    options |= {"window": None} if "window" in options else {}
    made: Choice = choose(choice.kind, {"name": choice.name} | options, choice.kind, mistakes)
    return made
