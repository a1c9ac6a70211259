"""One small training run on the device, for the comparison of a killed one with one that nothing stopped.

python -m benchmarks.gpu.one_run FOLDER --epochs 4 --samples 16 [--die-at-row 3] [--deterministic]
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import torch

from ddpo_bench.config import run_config
from ddpo_bench.training.trainer import train


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--die-at-row", type=int, help="SIGKILL once this many rows are written, before the checkpoint")
    parser.add_argument("--deterministic", action="store_true", help="torch's deterministic algorithms")
    given = parser.parse_args()
    if given.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cuda.enable_mem_efficient_sdp(False)  # its backward pass adds in any order
    config = run_config(
        {
            "policy": {"name": "stable_diffusion", "model": "embedded", "adapter": {"name": "full"}},
            "sampler": {"name": "ddim", "steps": 5},
            "algorithm": {"name": "ppo", "learning_rate": 5e-5},
            "samples_per_epoch": given.samples,
            "micro_batch": given.samples,
            "epochs": given.epochs,
            "evaluation": {"samples": 4},
            "checkpoint_seconds": 0,
        },
        "one_run",
    )
    rows = 0

    def count(row: dict[str, Any]) -> None:
        nonlocal rows
        rows += "sampled" not in row
        if rows == given.die_at_row:
            os.kill(os.getpid(), signal.SIGKILL)

    train(config, given.folder, count)


if __name__ == "__main__":
    main()
