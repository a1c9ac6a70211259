"""The noise schedule of all cases: that of Stable Diffusion, with DDPO's DDIM sampler (eta = 1, 50 steps).

It serves the latents of other models too, because the time of a kernel depends on their size, not on the coefficients.
"""

from __future__ import annotations

from functools import cache

from ddpo_kernels import coefficient_table
from diffusers import DDIMScheduler
from torch import Tensor

STEPS = 50
ETA = 1.0
GUIDANCE = 5.0


@cache
def scheduler() -> DDIMScheduler:
    made = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    made.set_timesteps(STEPS)
    return made


@cache
def exact_table() -> Tensor:
    """Coefficients of the steps in order, [T, 8], float64 (Song et al. 2021, eq. 12 and 16, epsilon prediction)."""
    alphas, timesteps = scheduler().alphas_cumprod.double(), scheduler().timesteps
    stride = len(alphas) // STEPS
    a, a_prev = alphas[timesteps], alphas[(timesteps - stride).clamp_min(0)]
    std = ETA * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
    on_x = (a_prev / a).sqrt()
    on_m = (1 - a_prev - std**2).sqrt() - on_x * (1 - a).sqrt()
    return coefficient_table(on_x, on_m, std)
