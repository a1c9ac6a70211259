"""One DDIM step with its log-prob, in the calling convention of DDPO's reference implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from ddpo_kernels import AffineStep
from torch import Tensor

from ddpo_bench.protocols import Law
from ddpo_bench.samplers.ddim_schedule import Coefficients, ddim_coefficients
from ddpo_bench.samplers.ddim_thresholding import ThresholdedLaw
from ddpo_bench.samplers.law import AffineLaw
from ddpo_bench.samplers.noise_schedule import NoiseSchedule, schedule_of

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


def ddim_law(
    schedule: NoiseSchedule,
    exact: Coefficients,
    model_output: Tensor,
    x_t: Tensor,
    use_clipped_model_output: bool = False,
) -> Law:
    """The law of one step of each sample, in float64 for float64 latents, else in fp32.

    Args:
        exact: of each sample, float64.
        model_output, x_t: [B, C, H, W], guidance already applied.
    """
    dtype = torch.promote_types(x_t.dtype, torch.float32)
    if schedule.thresholding:
        coefficients = exact.to(x_t.device, dtype)
        return ThresholdedLaw(
            schedule.thresholding, coefficients, model_output, x_t, use_clipped_model_output=use_clipped_model_output
        )
    table = exact.table(schedule.clip is not None, use_clipped_model_output).to(x_t.device, dtype)
    index = torch.arange(len(x_t), device=x_t.device)
    return AffineLaw(AffineStep(model_output, x_t, table, index, clip=schedule.clip), "auto")


def ddim_step_with_logprob(
    scheduler: SchedulerMixin | NoiseSchedule,
    model_output: Tensor,
    timestep: int | Tensor,
    sample: Tensor,
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
    generator: torch.Generator | None = None,
    prev_sample: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One DDIM step with its log-prob (Black et al. 2024).

    Args:
        scheduler: one of diffusers' with `set_timesteps` done, or a schedule.
        model_output, sample: [B, C, H, W], guidance already applied.
        timestep: one for all, or [B].
        eta: in (0, 1].
        prev_sample: [B, C, H, W]; scored instead of sampling where given.
    Returns:
        x_{t-1} in the sample's dtype, and its log-prob [B] in mean units (float64 for float64 inputs, else float32).
    Raises:
        NoDensity: for eta = 0 or a step of standard deviation 0.
        UnusableSchedule: for eta above 1, or a scheduler of another process.
        ValueError: where both generator and prev_sample are given.
    """
    from diffusers.utils.torch_utils import randn_tensor  # takes seconds

    if prev_sample is not None and generator is not None:
        raise ValueError("Give either generator (to sample) or prev_sample (to score it), not both.")
    timesteps = torch.as_tensor(timestep).reshape(-1).expand(len(sample))
    schedule = scheduler if isinstance(scheduler, NoiseSchedule) else schedule_of(scheduler)
    exact = ddim_coefficients(schedule, timesteps, eta)
    law = ddim_law(schedule, exact, model_output, sample, use_clipped_model_output)
    if prev_sample is not None:
        return prev_sample, law.log_prob(prev_sample)
    noise = randn_tensor(model_output.shape, generator=generator, device=sample.device, dtype=model_output.dtype)
    return law.draw(noise.to(sample.dtype))
