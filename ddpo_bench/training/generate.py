"""Images sampled from the pretrained model or from a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpo_bench import processes
from ddpo_bench.config import RunConfig
from ddpo_bench.noise import Noise
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
        run: a run's folder, whose newest checkpoint is sampled; None for the pretrained model.
    Returns:
        uint8 [N, H, W, 3].
    Raises:
        NoCheckpoint: where the run has none.
    """
    device = processes.device()
    policy, sampler = start_policy(config, device)
    if run is not None:
        state = state_of(run, device)
        if "policy" in state:  # before the first epoch it is the pretrained model
            policy.load_state_dict(state["policy"])
        if "ema" in state:
            load_averages(policy.parameters(), state["ema"])
    micro_batch = for_pictures(config, run)
    noise = Noise(seed, 0, "rollout")  # a training's epochs begin with 1
    x_0 = final_latents(sample_batches(policy, sampler, policy.encode(prompts), micro_batch, noise), len(prompts))
    return to_pixels(decode_in_batches(policy, x_0, micro_batch))


def state_of(run: Path, device: torch.device) -> dict[str, Any]:
    """The state in the newest checkpoint of a run.

    Raises:
        NoCheckpoint: where it has none.
    """
    state = load_newest(run, device)
    if state is None:
        raise NoCheckpoint(f"{run}: holds no checkpoint; is it the folder of a run (…/seed-<k>)?")
    return state
