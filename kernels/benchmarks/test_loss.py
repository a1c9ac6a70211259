"""The policy loss, and the whole learning step from model output to gradient."""

from __future__ import annotations

import pytest

from ddpo_bench.microbench.calls import IMPLEMENTATIONS
from ddpo_bench.microbench.cases import Case


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("operation", ["loss", "learning_step"])
@pytest.mark.parametrize(("latent", "batch"), [("sd15", 8)])
@pytest.mark.parametrize("dtype", ["bf16"])
def test_loss(compare, latent: str, batch: int, dtype: str, operation: str, implementation: str) -> None:
    compare(Case(operation, latent, batch, dtype), implementation)
