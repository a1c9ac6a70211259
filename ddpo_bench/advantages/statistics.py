"""What all advantages share: rewards against a mean, in units of a standard deviation.

Rewards that are all equal have advantages of exactly 0, whatever rounding makes of their mean.
"""

from __future__ import annotations

from typing import Any

from ddpo_bench.options import option


def clip_option() -> Any:
    return option(5.0, "largest absolute value of an advantage", above=0, maximum=1e6)
