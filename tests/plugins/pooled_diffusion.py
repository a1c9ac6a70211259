"""The small pooled network as the model of a diffusion process with betas, so that DDIM samples it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pooled_policy import Pooled

from ddpo_bench.registry import register


@register("policy", "pooled_diffusion")
@dataclass
class PooledDiffusion(Pooled):
    """A small v-prediction network that reads a prompt as a bag of words."""

    scheduler_config: ClassVar[dict[str, Any]] = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "steps_offset": 1,
        "clip_sample": False,
        "prediction_type": "v_prediction",
    }
