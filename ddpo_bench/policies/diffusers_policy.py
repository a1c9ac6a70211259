"""What policies of diffusers pipelines share: precision, LoRA, copies, the trained tensors, and what makes
large models fit and run fast.

A family is a subclass in a file of its own, which says what its pipeline is made of, how a prompt is embedded, the
network is called and latents are decoded.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ddpo_bench.copies import Copies
from ddpo_bench.embedded import EMBEDDED
from ddpo_bench.policies.adapters import add_lora
from ddpo_bench.policies.cheaper_passes import checkpoint_gradients, compile_repeated
from ddpo_bench.policies.latent_size import as_the_vae_made_them
from ddpo_bench.policies.loading import dtype_argument, import_pipeline, naming_model_trouble, refuse, weight_mistakes
from ddpo_bench.policies.lora_start import start_from
from ddpo_bench.policies.offloading import Offloading
from ddpo_bench.policies.pass_cost import pass_cost
from ddpo_bench.policies.precision import choose_attention, choose_layout, resolve_precision, tf32_where
from ddpo_bench.policies.prompt_cache import PromptCache
from ddpo_bench.policies.prompt_length import seen_prompt
from ddpo_bench.policies.saving import save_lora, save_pipeline
from ddpo_bench.policies.sharding import is_sharded, release, shard
from ddpo_bench.policies.stored_lora import read_lora
from ddpo_bench.policies.stored_pipeline import StoredPipeline
from ddpo_bench.policies.stored_weights import variant_of
from ddpo_bench.protocols import Conditioning, CopyName, PassCost, SeenPrompt
from ddpo_bench.whole_tensors import copy_whole, for_checkpoint

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

UNCONDITIONAL = "unconditional_"
DECODED_AT_ONCE = 4 * 64 * 64  # latent positions: 4 images of 512 x 512 pixels, whose activations take some GB


@dataclass
class DiffusersPolicy(StoredPipeline):
    """A diffusers pipeline with classifier-free guidance as part of the policy.

    Under guidance every tensor of a conditioning has another of the empty prompt next to it, `unconditional_<name>`.
    A family sets `layout` and gives `embed` and `output`.
    """

    without: ClassVar[dict[str, Any]] = {"scheduler": None}  # parts that are not loaded

    @abstractmethod
    def embed(self, prompt: str) -> Conditioning:
        """The conditioning of one prompt; without gradients."""

    @abstractmethod
    def output(self, network: Any, x_t: Tensor, timesteps: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """One pass of the trained network or a copy of it.

        Args:
            x_t: [N, C, H, W].
            timesteps: [N].
            tensors: of the conditioning, N entries each.
        """

    def for_guidance(self, output: Tensor) -> Tensor:
        """A pass under guidance, [2B, C, H, W], as uncond + guidance_scale (cond - uncond) combines it."""
        return output

    def decoded(self, vae: Any, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], -1 to 1, as a VAE decodes latents of unit variance; differentiable."""
        images: Tensor = vae.decode(as_the_vae_made_them(latents, vae.config), return_dict=False)[0]
        return images

    def images(self, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], float32 in [0, 1]; differentiable.  The VAE is in fp32, where it never overflows."""
        return (self.decoded(self.pipeline.vae, latents).float() / 2 + 0.5).clamp(0, 1)

    def pass_cost(self, device: torch.device, checkpointing: bool) -> PassCost | None:
        """Counted from the configurations; of LoRA without its own small products."""
        configs = self.configs()
        conditioning = self.conditioning_shapes(configs) if configs else None
        if not configs or not conditioning:
            return None
        network = configs[self.layout.trained]
        shapes = conditioning | {"x_t": self.latent_shape_of(configs)}
        half = resolve_precision(self.precision, device) is torch.bfloat16
        whole = self.adapter.name == "full"
        parts, calls = (network, configs["vae"]), (self.output, self.decoded)
        cost = pass_cost(*parts, shapes, *calls, whole=whole, half=half, checkpointing=checkpointing)
        rows = 1 + self.guided
        return PassCost(rows * cost.forward, rows * cost.backward, cost.decoding, rows * cost.activations)

    def start(self, device: torch.device, seed: int) -> None:
        """Load the model and make it trainable.

        Args:
            seed: of the LoRA matrices.
        Raises:
            ModelNotFound: where there is no such pipeline, or it is one that this policy cannot train.
        """
        self.device = device
        self.resolved_precision = resolve_precision(self.precision, device)
        pipeline, self.folder = self.load()
        self.pipeline = pipeline
        self.present = self.layout.of(self.folder)
        networks = {name: getattr(pipeline, name).requires_grad_(False) for name in self.present.networks}
        self.seen_of = lru_cache(maxsize=10_000)(self.seen_by_the_pipeline)
        self.embedded = PromptCache(self.embed_offloaded, lambda prompt: (self.guided, self.seen(prompt).text))
        home = torch.device("cpu") if is_sharded() else device  # `shard` takes it from there, block after block
        self.network: Any = networks.pop(self.layout.trained).to(home)
        self.offloading = Offloading(networks, device)
        choose_attention(self.network, device, self.resolved_precision)
        self.channels_last = choose_layout(self.network, device, self.resolved_precision)
        if self.adapter.name == "lora":
            add_lora(self.network, self.adapter, seed)
            if self.adapter.from_:
                lora = read_lora(self.adapter.from_, self.layout, dict(self.network.config))
                start_from(self.network, lora, self.adapter)
        else:
            self.network.requires_grad_(True)
        self.network.train()  # there is no dropout; checkpointed blocks need the flag
        self.is_compiled = False
        self.units: list[Any] = []  # of sharded weights
        self.make_copies()

    def make_copies(self) -> None:
        self.copies = Copies(self.parameters())
        if self.adapter.name == "full" or self.adapter.from_:
            self.keep("pretrained")

    def prepare_network(self, compile_blocks: bool, gradient_checkpointing: bool) -> None:
        if gradient_checkpointing:
            checkpoint_gradients(self.network)
        if compile_blocks:
            compile_repeated(self.network)
            self.is_compiled = True

    def shard(self) -> None:
        self.copies = Copies([])
        self.units = shard(self.network, self.device)
        self.channels_last = False
        self.make_copies()

    def load(self) -> tuple[DiffusionPipeline, Path]:
        """The pipeline, each part in the precision in which it is kept, and its folder, which is read offline.

        A hub model may be fetched.
        """
        refuse(self.mistakes())
        name = self.layout.pipeline
        kind = import_pipeline(name)
        with naming_model_trouble(name, self.model):
            folder = self.local_folder() or self.downloaded(kind)
            if self.model not in EMBEDDED:
                refuse(self.folder_architecture_mistakes(folder))
            present = self.layout.of(folder)
            networks = present.networks
            absent = {part: None for part in self.layout.parts if part not in present.parts}
            precisions = {"default": torch.float32} | {part: self.kept_in(part) for part in networks}
            pipeline = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                variant=variant_of(folder, networks, self.variant),
                **{dtype_argument(): precisions},
                **absent,
                **self.without,
            )
        refuse(self.named(weight_mistakes(pipeline, networks, folder)) or self.start_mistakes())
        for part in networks:
            getattr(pipeline, part).to(self.kept_in(part))
        return pipeline, folder

    def downloaded(self, kind: type[DiffusionPipeline]) -> Path:
        folder = Path(
            kind.download(
                self.model, revision=self.revision, variant=self.variant, use_safetensors=True, safety_checker=None
            )
        )
        refuse(self.sound(folder))
        return folder

    def kept_in(self, part: str) -> torch.dtype:
        """The precision in which the weights of a part are kept: frozen ones of the network need no master copy."""
        frozen = part in self.layout.large or (part == self.layout.trained and self.adapter.name == "lora")
        return self.resolved_precision if frozen else torch.float32

    @property
    def scheduler_config(self) -> dict[str, Any]:
        return self.scheduler_config_of(self.folder)

    def seen_by_the_pipeline(self, prompt: str) -> SeenPrompt:
        tokenizer, limit = self.reader(self.present)
        return seen_prompt(getattr(self.pipeline, tokenizer), prompt, limit)

    def seen(self, prompt: str) -> SeenPrompt:
        """The part of a prompt that `encode` reads."""
        return self.seen_of(prompt)

    def encode(self, prompts: list[str]) -> Conditioning:
        """One entry a prompt, in the precision of the network, which would round them to it at every pass."""
        return self.embedded(prompts)

    @torch.no_grad()
    def embed_offloaded(self, prompt: str) -> Conditioning:
        self.offloading.bring(*(name for name in self.present.networks if name.startswith("text_encoder")))
        made = self.embed(prompt)
        return Conditioning(
            {name: tensor.to(self.resolved_precision) for name, tensor in made.tensors.items()}, made.pooled
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, 3, H, W], float32 in [0, 1]; differentiable.

        Some at a time, in TF32 on GPUs where the network is in bf16: it moves a pixel by less than the step of 8 bits.
        """
        self.offloading.bring("vae", for_backward=latents.requires_grad and torch.is_grad_enabled())
        with tf32_where(self.resolved_precision is torch.bfloat16):
            at_once = max(1, DECODED_AT_ONCE // latents[0, 0].numel())
            return torch.cat([self.images(part) for part in latents.split(at_once)])

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return self.latent_shape_of(
            {part: getattr(self.pipeline, part).config for part in (self.layout.trained, "vae")}
        )

    def origin(self) -> dict[str, Any]:
        """The commit of a hub model, the variant of its weights, and what differs from what its folder says."""
        variant = variant_of(self.folder, self.present.networks, self.variant)
        commit = self.folder.name if self.folder.parent.name == "snapshots" else None
        return {"commit": commit, "variant": variant, "notes": list(self.notes())}

    def notes(self) -> Iterator[str]:
        """What a reader of results should know of the model, a line each."""
        for part in self.layout.optional:
            if part not in self.present.parts and not part.startswith("tokenizer"):
                yield f"without {part}, whose embeddings are zeros"

    def predict(self, x_t: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """One pass of the network.

        Args:
            x_t: [B, C, H, W] float32.
            timesteps: [B].
        Returns:
            [2B, C, H, W] as (uncond, cond) under guidance, else [B, C, H, W], in the precision of the network.
        """
        if self.is_compiled and not torch.is_grad_enabled():
            with torch.enable_grad():  # the code that learning runs: code without gradients would round differently
                return self.predict(x_t, timesteps, conditioning).detach()
        self.offloading.bring()
        tensors = conditioning.tensors
        if self.guided:
            x_t, timesteps = torch.cat([x_t, x_t]), torch.cat([timesteps, timesteps])
            tensors = {
                name: torch.cat([tensors[UNCONDITIONAL + name], tensor])
                for name, tensor in tensors.items()
                if not name.startswith(UNCONDITIONAL)
            }
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.resolved_precision is torch.bfloat16):
            output = self.output(self.network, x_t, timesteps, tensors)
        if self.guided:
            output = self.for_guidance(output)
        return output.contiguous() if self.channels_last else output

    @contextlib.contextmanager
    def copy(self, name: CopyName) -> Iterator[None]:
        """Context in which `predict` is a copy, without gradients; the pretrained one of a new LoRA takes no memory."""
        is_base = name == "pretrained" and self.adapter.name == "lora" and not self.adapter.from_
        release(self.units)
        with self.without_adapters() if is_base else super().copy(name):
            yield
            release(self.units)

    @contextlib.contextmanager
    def without_adapters(self) -> Iterator[None]:
        self.network.disable_adapters()
        try:
            with torch.no_grad():
                yield
        finally:
            self.network.enable_adapters()

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.named_parameters().values())

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        release(self.units)
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    def state_dict(self) -> dict[str, Any]:
        """The trained tensors by name, whole."""
        return {name: for_checkpoint(weight.detach()) for name, weight in self.named_parameters().items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        parameters = self.named_parameters()
        if state.keys() != parameters.keys():
            raise ValueError("the checkpoint holds other tensors than this policy trains.")
        for name, parameter in parameters.items():
            copy_whole(state[name], parameter)

    def save_trained(self, trained: Mapping[str, Tensor], folder: Path) -> None:
        if self.adapter.name == "lora":
            save_lora(self.layout, self.adapter, trained, folder)
            return
        refuse(self.mistakes())
        source = self.local_folder() or self.downloaded(import_pipeline(self.layout.pipeline))
        save_pipeline(self.layout.of(source), source, self.variant, trained, folder)


def paired(tensors: Mapping[str, Tensor], unconditional: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a conditioning.

    Args:
        tensors: of the prompt.
        unconditional: those of the empty prompt, by the same names; empty without guidance.
    """
    return {**tensors, **{f"{UNCONDITIONAL}{name}": tensor for name, tensor in unconditional.items()}}
