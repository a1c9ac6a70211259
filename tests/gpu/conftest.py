"""Makes `benchmarks` importable, which is no part of the package, and the steps that its checks draw."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT), str(ROOT / "benchmarks" / "gpu" / "checks")]
