"""What policies of flow-matching pipelines share: transformers with adapters of their own, and their schedules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ddpo_bench.options import option
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy
from ddpo_bench.policies.pipeline_folder import SCHEDULER
from ddpo_bench.policies.stored_weights import read_json

OWN_SIDE = 128  # of latents, of families whose network's configuration does not say it: 1024 pixels
JOINT_ATTENTION = (  # of both streams of an MMDiT block, image and text
    "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
    "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
)  # fmt: skip


@dataclass(frozen=True)
class JointAttentionAdapter(Adapter):
    """What of the network is trained, with Flow-GRPO's LoRA (Liu et al. 2025) as the default."""

    rank: int = option(32, "rank of the LoRA matrices", minimum=1, maximum=4096)
    alpha: int | None = option(
        64, "LoRA updates are multiplied by alpha / rank; null is the rank", minimum=1, maximum=65536
    )
    target_modules: tuple[str, ...] = option(
        JOINT_ATTENTION, "layers that LoRA updates, each by its name or by the end of its name after a dot"
    )


@dataclass
class FlowPipeline(DiffusersPolicy):
    """A flow-matching pipeline: its network predicts v = e - x_0 of x_t = (1 - s) x_0 + s e."""

    pipeline_sigmas: ClassVar[bool] = False  # whether the pipeline gives its scheduler linspace(1, 1 / steps, steps)

    def scheduler_config_of(self, folder: Path) -> dict[str, Any]:
        """The folder's, with what the pipeline tells its scheduler: its own sigmas, and the number of tokens."""
        config = read_json(folder / SCHEDULER)
        if self.pipeline_sigmas:
            config["pipeline_sigmas"] = True
        if config.get("use_dynamic_shifting"):
            configs = self.configs_of(folder)
            (_, height, width), patch = self.latent_shape_of(configs), self.patch_size(configs)
            config["image_seq_len"] = (height // patch) * (width // patch)
        return config
