"""Processes that begin with everything imported, so that tests which start many lose no seconds to each."""

from __future__ import annotations

import multiprocessing

WARM = multiprocessing.get_context("forkserver")  # forked from a process that has imported this, and has no threads
WARM.set_forkserver_preload(
    [
        "ddpo_bench.training.trainer",
        "ddpo_bench.policies.stable_diffusion",
        "ddpo_bench.samplers.ddim",
        "ddpo_bench.algorithms.ppo",
        "ddpo_bench.algorithms.sac",
        "ddpo_bench.sweep.worker",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    ]
)
