"""The cases to measure: operations on latents, and the least bytes that each must move.

Imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ddpo_bench.config import ConfigError
from ddpo_bench.registry import unknown

LATENTS = {
    "sd15": (4, 64, 64),
    "sdxl": (4, 128, 128),
    "flux": (16, 128, 128),  # Stable Diffusion 3 as well
    "embedded": (8, 8, 8),  # the model that comes with the package
}
DTYPES = {"bf16": 2, "fp32": 4}  # bytes per element
FP32 = 4
DEFAULT_LATENTS = ("sd15", "sdxl", "flux")
GPU_BATCHES = (1, 4, 8, 32, 128, 256)
CPU_BATCHES = (1, 8, 32)
CPU_ELEMENTS = 2**21  # of a latent batch; larger ones take seconds on a CPU and are measured only on request


@dataclass(frozen=True)
class Traffic:
    """The memory traffic that a fused operation needs for each sample.

    Coefficients, loss and statistics are not counted, because all samples share them.

    Attributes:
        latents: number of latents in the case's dtype; a guided model output, or its gradient, counts as two.
        means: number of latents in fp32.
        scalars: bytes of the values of a sample: its step index (8), log-probs, KL, advantage, gradients (4 each).
        what: the traffic in words.
    """

    latents: int
    means: int
    scalars: int
    what: str


OPERATIONS = {
    "sample": Traffic(5, 0, 8 + 4, "reads output (2), x_t, noise; writes x_prev, log-prob"),
    "score": Traffic(4, 0, 8 + 4, "reads output (2), x_t, x_prev; writes log-prob"),
    "score_kl": Traffic(4, 1, 8 + 4 + 4, "reads output (2), x_t, x_prev, reference mean; writes log-prob, KL"),
    "backward": Traffic(6, 0, 8 + 4, "reads output (2), x_t, x_prev; writes gradient (2)"),
    "loss": Traffic(0, 0, 4 * 4, "reads log-prob, old log-prob, advantage; writes gradient"),
    "learning_step": Traffic(10, 0, 2 * 8 + 6 * 4, "score, loss, backward"),
}


@dataclass(frozen=True)
class Case:
    """One operation on one batch of latents; every implementation is given the same inputs."""

    operation: str
    latent: str
    batch: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.operation}, {self.inputs}"

    @property
    def inputs(self) -> str:
        """What determines the inputs, as text."""
        size = "×".join(map(str, LATENTS[self.latent]))
        return f"{self.latent} {size}, batch {self.batch}, {self.dtype}"

    @property
    def elements(self) -> int:
        """Number of elements in the latents of the whole batch."""
        return self.batch * math.prod(LATENTS[self.latent])

    @property
    def bytes(self) -> int:
        """The least bytes that the fused operation must move."""
        traffic = OPERATIONS[self.operation]
        element = traffic.latents * DTYPES[self.dtype] + traffic.means * FP32
        return self.elements * element + self.batch * traffic.scalars


def select_cases(
    latents: Sequence[str] | None,
    batches: Sequence[int] | None,
    dtypes: Sequence[str] | None,
    operations: Sequence[str] | None,
    on_gpu: bool,
) -> list[Case]:
    """All combinations of the options; cases with the same inputs are neighbours.

    Args:
        latents, batches, dtypes, operations: the values of the options; None takes the default.
        on_gpu: whether the default is that of a GPU.
    Raises:
        ConfigError: naming every value that does not exist.
    """
    refuse_unknown(("latent", latents, LATENTS), ("dtype", dtypes, DTYPES), ("operation", operations, OPERATIONS))
    wanted = batches or (GPU_BATCHES if on_gpu else CPU_BATCHES)
    cases = [
        Case(operation, latent, batch, dtype)
        for latent in dict.fromkeys(latents or DEFAULT_LATENTS)
        for dtype in dict.fromkeys(dtypes or DTYPES)
        for batch in sorted(set(wanted))
        for operation in dict.fromkeys(operations or OPERATIONS)
    ]
    unbounded = on_gpu or batches is not None
    return [case for case in cases if unbounded or case.elements <= CPU_ELEMENTS]


def refuse_unknown(*options: tuple[str, Sequence[str] | None, Iterable[str]]) -> None:
    mistakes = [
        f"kernels: --{option}: {unknown(option, name, known)}"
        for option, names, known in options
        for name in names or ()
        if name not in known
    ]
    if mistakes:
        raise ConfigError(mistakes)
