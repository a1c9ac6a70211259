"""Whether AdamW still adapts its steps: not where the gradient is no longer large against its epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARGIN = 10  # times epsilon


def is_too_large(epsilon: float, row: Mapping[str, Any]) -> bool:
    """Whether the gradient's RMS in a row of metrics is below `MARGIN` times epsilon; 0 has no gradient to judge.

    Args:
        epsilon: of AdamW; 0 for an algorithm without one.
    """
    return 0 < row.get("grad_rms", 0) < MARGIN * epsilon
