"""The time of the model's forward and backward passes, for comparison with that of a learning step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel

from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.microbench.calls import IMPLEMENTATIONS, Call, not_measured
from ddpo_bench.microbench.cases import LATENTS, Case
from ddpo_bench.microbench.inputs import TORCH_DTYPES, make_sets
from ddpo_bench.microbench.measure import Advance, Measured, Measurements, own_stream
from ddpo_bench.microbench.timing import Timing, cache_bytes, memory_bytes, time_calls

EMBEDDED_TOKENS, SD15_TOKENS = 16, 77


@dataclass(frozen=True)
class TrainingStep:
    """The forward and backward passes of a model under guidance, and the learning steps on latents of the same size.

    Attributes:
        model: the name of the model.
        case: the case of the learning steps; the model is given twice its batch.
        timing: time of the forward and backward passes.
        learning_steps: measurements of the case with each implementation.
    """

    model: str
    case: Case
    timing: Timing
    learning_steps: list[Measured]


def embedded_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(MODEL_FOLDER / "unet")


def sd15_unet() -> UNet2DConditionModel:
    """The architecture of Stable Diffusion 1.5 with random weights, on which the time does not depend."""
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


MODELS: list[tuple[str, Callable[[], UNet2DConditionModel], int, str, str, tuple[int, ...]]] = [
    ("embedded model", embedded_unet, EMBEDDED_TOKENS, "embedded", "fp32", (8,)),
    ("SD1.5 (random weights)", sd15_unet, SD15_TOKENS, "sd15", "bf16", (1, 8)),
]


def measure_training_steps(measurements: Measurements, steps: list[TrainingStep], advance: Advance) -> None:
    """Measure the embedded model and, on a GPU, a model of the size of Stable Diffusion 1.5."""
    device = measurements.device
    with own_stream(device):
        for model, build, tokens, latent, dtype, batches in MODELS if device.type == "cuda" else MODELS[:1]:
            advance(model, "forward and backward")
            unet = build().to(device, TORCH_DTYPES[dtype])
            for batch in batches:
                case = Case("learning_step", latent, batch, dtype)
                try:
                    timing = time_calls([forward_and_backward(unet, case, tokens, device)], device)
                except torch.OutOfMemoryError:
                    measurements.notes.append(f"{model}, batch {batch}: not measured: out of memory.")
                    continue
                steps.append(TrainingStep(model, case, timing, learning_steps(case, measurements, advance)))


def forward_and_backward(unet: UNet2DConditionModel, case: Case, tokens: int, device: torch.device) -> Call:
    """A call that computes the output and the gradients of all parameters, for a batch of (uncond, cond)."""
    dtype = TORCH_DTYPES[case.dtype]
    x_t = torch.randn(2 * case.batch, *LATENTS[case.latent], device=device, dtype=dtype)
    timesteps = torch.randint(1000, (2 * case.batch,), device=device)
    text = torch.randn(2 * case.batch, tokens, unet.config.cross_attention_dim, device=device, dtype=dtype)
    by_output = torch.randn_like(x_t)

    def call() -> tuple[torch.Tensor, ...]:
        output = unet(x_t, timesteps, encoder_hidden_states=text).sample
        return torch.autograd.grad(output, list(unet.parameters()), by_output)

    return call


def learning_steps(case: Case, measurements: Measurements, advance: Advance) -> list[Measured]:
    """Measure the case with every implementation."""
    device = measurements.device
    apart = Measurements(device, measurements.copy)
    sets = make_sets(case, device, cache_bytes(device), memory_bytes(device))
    apart.case(case, [name for name in IMPLEMENTATIONS if not not_measured(name, device)], sets, advance)
    measurements.notes += apart.notes
    return apart.rows
