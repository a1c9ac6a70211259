"""The specialisations of the step kernels, as launch.py launches them, and the latents that each has to move."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from compiling import Launch, recording
from ddpo_kernels import launch
from ddpo_kernels.step import AffineStep, ReferenceKind, TargetKind
from torch import Tensor
from triton.backends.compiler import GPUTarget

SM_80, SM_90, SM_100 = (GPUTarget("cuda", architecture, 32) for architecture in (80, 90, 100))
GFX942 = GPUTarget("hip", "gfx942", 64)
BATCH = 2
ALIGNED, ODD, LARGE = 4 * 64 * 64, 3 * 17 * 19, 16 * 128 * 128  # elements of a latent


class Dtypes(NamedTuple):
    """Of model output and of latents."""

    model: torch.dtype
    latent: torch.dtype


FP32, BF16, FP16, MIXED = (
    Dtypes(torch.float32, torch.float32),
    Dtypes(torch.bfloat16, torch.bfloat16),
    Dtypes(torch.float16, torch.float16),
    Dtypes(torch.bfloat16, torch.float32),
)


class Forward(NamedTuple):
    """Flags of a forward kernel."""

    guided: bool
    clip: bool
    target: TargetKind
    reference: ReferenceKind
    mean: bool

    def launch(self, target: GPUTarget, dtypes: Dtypes, size: int = ALIGNED, views: bool = False) -> Launch:
        step = step_of(self.guided, self.clip, dtypes, size, views)
        given = None if self.target == "none" else rows(BATCH, size, dtypes.latent, views)
        with recording(target) as launches:
            reference = reference_of(self, dtypes, size, views)
            launch.launch_forward(step, given, self.target, reference, self.reference, self.mean)
        return launches[0]

    def streams(self, dtypes: Dtypes) -> list[torch.dtype]:
        """Dtypes of the latents that have to be read or written, each once."""
        outputs = [dtypes.model] * (1 + self.guided)
        needs_x = self.target != "none" or self.reference == "mean" or self.clip
        moved = outputs + [dtypes.latent] * (needs_x + (self.target != "none") + (self.target == "noise"))
        references = {"none": [], "mean": [torch.float32], "output": outputs}
        return moved + references[self.reference] + [torch.float32] * self.mean


class Backward(NamedTuple):
    """Flags of a backward kernel."""

    guided: bool
    clip: bool
    scored: bool
    reference: ReferenceKind
    drawn: bool

    def launch(self, target: GPUTarget, dtypes: Dtypes, size: int = ALIGNED, views: bool = False) -> Launch:
        step = step_of(self.guided, self.clip, dtypes, size, views)
        per_sample, latent = torch.zeros(BATCH), rows(BATCH, size, dtypes.latent, views)
        with recording(target) as launches:
            launch.launch_backward(
                step, latent, reference_of(self, dtypes, size, views), self.reference,
                per_sample if self.scored else None, per_sample if self.reference != "none" else None,
                latent if self.drawn else None,
            )  # fmt: skip
        return launches[0]

    def streams(self, dtypes: Dtypes) -> list[torch.dtype]:
        """As of `Forward`."""
        outputs = [dtypes.model] * (1 + self.guided)
        needs_x = self.scored or self.reference == "mean" or self.clip
        needs_m = needs_x or self.reference == "output"
        references = {"none": [], "mean": [torch.float32], "output": outputs}
        return (
            outputs * (1 + needs_m)
            + [dtypes.latent] * (needs_x + self.scored + self.drawn)
            + references[self.reference]
        )


def rows(count: int, size: int, dtype: torch.dtype, views: bool) -> Tensor:
    """Latents; as views into a trajectory, whose address is aligned no further than their size is."""
    return torch.zeros(count + 1, size, dtype=dtype)[1:] if views else torch.zeros(count, size, dtype=dtype)


def step_of(guided: bool, clip: bool, dtypes: Dtypes, size: int, views: bool) -> AffineStep:
    output = rows(BATCH * (1 + guided), size, dtypes.model, views)
    table, index = torch.zeros(1, 8), torch.zeros(BATCH, dtype=torch.int64)
    return AffineStep(output, rows(BATCH, size, dtypes.latent, views), table, index, 7.5, 1.0 if clip else None)


def reference_of(flags: Forward | Backward, dtypes: Dtypes, size: int, views: bool) -> Tensor | None:
    if flags.reference == "output":
        return rows(BATCH * (1 + flags.guided), size, dtypes.model, views)
    return rows(BATCH, size, torch.float32, views) if flags.reference == "mean" else None


def flag_pairs(target: GPUTarget, dtypes: Dtypes) -> list[tuple[bool, bool]]:
    """GUIDED and CLIP: all four in bf16 on sm_90, and neither and both elsewhere, to save time."""
    pairs = list(product((False, True), repeat=2))
    return pairs if (target, dtypes) == (SM_90, BF16) else [pairs[0], pairs[-1]]


def forwards(target: GPUTarget, dtypes: Dtypes) -> list[Forward]:
    """What the public operations ask for: drawing compares with no reference, and scoring returns no mean."""
    kinds = product(("none", "x_prev", "noise"), ("none", "mean", "output"), (False, True))
    asked = [
        (kind, reference, mean)
        for kind, reference, mean in kinds
        if (reference == "none" if kind == "noise" else not mean) and (kind, reference) != ("none", "none")
    ]
    return [Forward(*pair, *flags) for pair, flags in product(flag_pairs(target, dtypes), asked)]


def backwards(target: GPUTarget, dtypes: Dtypes) -> list[Backward]:
    """As of `forwards`: a drawn x_prev has no reference."""
    kinds = product((False, True), ("none", "mean", "output"), (False, True))
    asked = [
        (scored, reference, drawn)
        for scored, reference, drawn in kinds
        if (scored or reference != "none" or drawn) and not (drawn and reference != "none")
    ]
    return [Backward(*pair, *flags) for pair, flags in product(flag_pairs(target, dtypes), asked)]


def unasked_forwards() -> list[Forward]:
    """Drawing and comparing at once, which the kernel and its operator can do although no public operation asks."""
    return [Forward(True, True, "noise", reference, False) for reference in ("mean", "output")]


def totals_launches(target: GPUTarget) -> dict[str, Launch]:
    """The second stage with every choice of sums, of a few and of many tiles."""
    found = {}
    for size, (kind, reference) in product(
        (ALIGNED, LARGE), (("x_prev", "none"), ("none", "mean"), ("x_prev", "mean"))
    ):
        step = step_of(False, False, FP32, size, False)
        latent = rows(BATCH, size, torch.float32, False)
        with recording(target) as launches:
            launch.launch_forward(step, latent, kind, latent, reference, False)
        found[f"step_totals {size} {kind} {reference}"] = launches[1]
    return found


def noise_launch(target: GPUTarget, size: int = ALIGNED) -> Launch:
    with recording(target) as launches:
        launch.launch_normal(2**40, torch.arange(BATCH), torch.arange(BATCH), (size,))
    return launches[0]


def loss_launch(target: GPUTarget) -> Launch:
    """The loss of a batch of several chunks."""
    values = torch.zeros(1000)
    with recording(target) as launches:
        launch.launch_loss(values, values, values, 1e-4)
    return launches[0]
