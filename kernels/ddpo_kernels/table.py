"""The coefficients of a schedule's transition laws, one row a step: what every kernel multiplies with.

Without clipping, one affine law covers DDIM with every prediction type, and flow-matching SDE steps:
    mean = on_x * x_t + on_m * m,    std = sigma
Where a scheduler clips the predicted x_0 to [-R, R]:
    x0   = x0_on_x * x_t + x0_on_m * m
    mean = on_x * x_t + on_m * m + on_clipped * clip(x0, -R, R)
"""

from __future__ import annotations

import torch
from torch import Tensor

COLUMNS = ("on_x", "on_m", "x0_on_x", "x0_on_m", "on_clipped", "std", "inverse_std", "log_std")


class NoDensity(ValueError):
    """A step with standard deviation 0 has no log-prob."""


def coefficient_table(
    on_x: Tensor,
    on_m: Tensor,
    std: Tensor,
    x0_on_x: Tensor | None = None,
    x0_on_m: Tensor | None = None,
    on_clipped: Tensor | None = None,
) -> Tensor:
    """Stack coefficients into the table that steps index.

    Args:
        on_x, on_m, std: [T], float64, so that 1 / sigma and log sigma are rounded once.
        x0_on_x, x0_on_m, on_clipped: [T], float64, where the predicted x_0 is clipped.
    Returns:
        [T, 8], float64, columns as in `COLUMNS`; cast it with `.to(device, dtype)`.
    Raises:
        NoDensity: where a std is not above 0.
    """
    if not (std > 0).all():
        raise NoDensity(f"a transition law needs a standard deviation above 0, got {std.min().item()}.")
    nothing = torch.zeros_like(std)
    clipping = [nothing if values is None else values for values in (x0_on_x, x0_on_m, on_clipped)]
    return torch.stack([on_x, on_m, *clipping, std, 1 / std, std.log()], dim=1)
