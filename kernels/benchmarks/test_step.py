"""The denoising step and its gradient: DDPO's order, eager torch, `torch.compile` and Triton."""

from __future__ import annotations

import pytest

from ddpo_bench.microbench.calls import IMPLEMENTATIONS
from ddpo_bench.microbench.cases import Case


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("operation", ["sample", "score", "score_kl", "backward"])
@pytest.mark.parametrize(("latent", "batch"), [("sd15", 8)])
@pytest.mark.parametrize("dtype", ["bf16"])
def test_step(compare, latent: str, batch: int, dtype: str, operation: str, implementation: str) -> None:
    compare(Case(operation, latent, batch, dtype), implementation)
