"""What the parity tests share: schedules in closed form, steps at odd sizes, float64 counterparts, ulps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import torch
from ddpo_kernels import AffineStep, coefficient_table, form_mean, per_sample
from ddpo_kernels.table import COLUMNS
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SIZES = ((1, 1, 1), (3, 17, 19))  # one element; not a multiple of any vector
REFERENCES = ("none", "mean", "output")
CLIP = 0.8  # of the predicted x_0: about half of the elements are outside

ALPHAS = torch.tensor([0.05, 0.15, 0.4], dtype=torch.float64)
ALPHAS_PREV = torch.tensor([0.3, 0.4, 0.7], dtype=torch.float64)


class Dtypes(NamedTuple):
    output: torch.dtype
    latents: torch.dtype


DTYPES = {
    "fp32": Dtypes(torch.float32, torch.float32),
    "bf16": Dtypes(torch.bfloat16, torch.bfloat16),
    "fp16": Dtypes(torch.float16, torch.float16),
    "bf16-fp32": Dtypes(torch.bfloat16, torch.float32),
}


def predictions(kind: str, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x0 = x0_x * x_t + x0_m * m and eps = eps_x * x_t + eps_m * m, from x_t = sqrt(a) x0 + sqrt(1 - a) eps."""
    signal, noise, zero, one = a.sqrt(), (1 - a).sqrt(), torch.zeros_like(a), torch.ones_like(a)
    return {
        "epsilon": (1 / signal, -noise / signal, zero, one),
        "v_prediction": (signal, -noise, noise, signal),
        "sample": (zero, one, 1 / noise, -signal / noise),
    }[kind]


def ddim_table(kind: str = "epsilon", a: Tensor = ALPHAS, a_prev: Tensor = ALPHAS_PREV, clip: bool = False) -> Tensor:
    """DDIM with eta = 1 in float64; sigma is 0.78, 0.66 and 0.46 for the default alphas."""
    std = ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
    signal, direction = a_prev.sqrt(), (1 - a_prev - std**2).sqrt()
    x0_x, x0_m, eps_x, eps_m = predictions(kind, a)
    if clip:
        return coefficient_table(direction * eps_x, direction * eps_m, std, x0_x, x0_m, signal)
    return coefficient_table(signal * x0_x + direction * eps_x, signal * x0_m + direction * eps_m, std)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def make_step(
    shape: tuple[int, ...] = SIZES[1],
    batch: int = 3,
    kind: str = "epsilon",
    dtypes: Dtypes = DTYPES["fp32"],
    guided: bool = False,
    clip: float | None = None,
    table: Tensor | None = None,
    seed: int = 0,
) -> AffineStep:
    """A step of a batch whose samples are at different rows of the table."""
    exact = ddim_table(kind, clip=clip is not None) if table is None else table
    output = normal(batch * (2 if guided else 1), *shape, seed=seed).to(dtypes.output).requires_grad_()
    x_t = normal(batch, *shape, seed=seed + 1).to(dtypes.latents)
    index = (torch.arange(batch) * 2 + seed) % len(exact)
    return AffineStep(output, x_t, exact.to(DEVICE).float(), index.to(DEVICE), 3.0 if guided else 1.0, clip)


def exact(step: AffineStep, kind: str = "epsilon", table: Tensor | None = None) -> AffineStep:
    """The same step in float64: its inputs as they are, its table before it was rounded."""
    table = ddim_table(kind, clip=step.clip is not None) if table is None else table
    output = step.model_output.detach().double().requires_grad_()
    return replace(step, model_output=output, x_t=step.x_t.double(), table=table.to(DEVICE))


def make_reference(step: AffineStep, kind: str, seed: int = 10) -> Tensor | None:
    """A neighbouring policy's mean (fp32) or model output (in the output's dtype), or None."""
    output = step.model_output.detach()
    if kind == "output":
        return (output.float() + 0.5 * normal(*output.shape, seed=seed)).to(output.dtype)
    return None if kind == "none" else form_mean(step).detach() + 0.6 * normal(*step.x_t.shape, seed=seed)


def make_stored(step: AffineStep, seed: int = 5) -> Tensor:
    """An x_prev that a neighbouring policy drew, as it would be stored: z is normal, give or take."""
    mean = form_mean(step).detach() + 0.1 * normal(*step.x_t.shape, seed=seed)
    std = per_sample(step.table[step.index, COLUMNS.index("std")], mean)
    return (mean + std * normal(*step.x_t.shape, seed=seed + 1)).to(step.x_t.dtype)


def widened(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def gradient(value: Tensor, step: AffineStep) -> Tensor:
    return torch.autograd.grad(value, step.model_output, retain_graph=True)[0]  # the mean is formed once a step


def ulp(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance between neighbours of a dtype at these values."""
    limits = torch.finfo(dtype)
    return values.abs().clamp_min(limits.smallest_normal).log2().floor().exp2() * limits.eps


def assert_rounded(found: Tensor, expected: Tensor, relative: float = 1e-6) -> None:
    """Within `relative` of the largest, and for 16 bits within one ulp more: interpreted kernels truncate."""
    slack = relative * expected.abs().max()
    if found.dtype != torch.float32:
        slack = slack + ulp(expected, found.dtype)
    assert found.shape == expected.shape
    excess = ((found.double() - expected).abs() - slack).max().item()  # NaN fails the comparison
    assert excess <= 0, f"{excess:.2e} beyond {slack.max().item():.2e}"


def assert_near(found: Tensor, expected: Tensor, absolute: float = 0.0, relative: float = 0.0) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=absolute, rtol=relative)


# A prediction type is other numbers in the table, and no other kernel.
STEP_CASES = [
    *itertools.product(PREDICTIONS[:1], DTYPES, (False, True), REFERENCES, SIZES[1:]),
    *itertools.product(PREDICTIONS[1:], ("fp32",), (True,), ("output",), SIZES[1:]),
    *itertools.product(PREDICTIONS[:1], ("fp32", "bf16"), (True,), ("output",), SIZES[:1]),
]
