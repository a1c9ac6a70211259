"""AuraFlow (Fal 2024) as a policy: any AuraFlowPipeline folder or hub name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar

from torch import Tensor

from ddpo_bench.options import option
from ddpo_bench.policies.diffusers_policy import paired
from ddpo_bench.policies.flow_pipeline import FlowPipeline
from ddpo_bench.policies.pipeline_folder import Layout
from ddpo_bench.policies.stored_pipeline import Configs
from ddpo_bench.protocols import Conditioning
from ddpo_bench.registry import register


@register("policy", "aura_flow")
@dataclass
class AuraFlow(FlowPipeline):
    """AuraFlow, with classifier-free guidance as part of the policy."""

    model: str = option(MISSING, "a folder saved by AuraFlowPipeline, or a hub name")
    max_sequence_length: int = option(256, "tokens of the text encoder", minimum=1, maximum=512, unit="tokens")

    layout: ClassVar[Layout] = Layout(
        pipeline="AuraFlowPipeline",
        meant="AuraFlow, text to image",
        parts={
            "transformer": ("AuraFlowTransformer2DModel",),
            "vae": ("AutoencoderKL",),
            "text_encoder": ("UMT5EncoderModel",),
            "tokenizer": ("T5Tokenizer", "T5TokenizerFast", "LlamaTokenizerFast"),
        },
        large=("text_encoder",),
    )

    def embed(self, prompt: str) -> Conditioning:
        texts, _, empty_texts, _ = self.pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=self.guided,
            device=self.device,
            max_sequence_length=self.max_sequence_length,
        )
        empty = {"texts": empty_texts} if self.guided else {}
        return Conditioning(paired({"texts": texts}, empty), texts.float().mean(1))

    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        sigmas = timesteps.to(x_t.dtype) / 1000
        return network(x_t, encoder_hidden_states=tensors["texts"], timestep=sigmas, return_dict=False)[0]

    def reader(self, layout: Layout) -> tuple[str, int | None]:
        return "tokenizer", self.max_sequence_length

    def patch_size(self, configs: Configs) -> int:
        return configs["transformer"].get("patch_size", 2)

    def conditioning_shapes(self, configs: Configs) -> dict[str, tuple[int, ...]]:
        return {"texts": (self.max_sequence_length, configs["transformer"].get("joint_attention_dim", 2048))}

    def pooled_numbers(self, configs: Configs) -> int:
        return configs["transformer"].get("joint_attention_dim", 2048)
