"""Parity of the Triton kernels: collected where they can run, on a CUDA device or interpreted.

`TRITON_INTERPRET=1 pytest tests/kernels/parity` runs them on a CPU; tests/kernels/test_interpreted.py does so.
"""

from __future__ import annotations

import torch
from ddpo_kernels.backend import INTERPRETING

collect_ignore_glob = [] if INTERPRETING or torch.cuda.is_available() else ["test_*.py"]
