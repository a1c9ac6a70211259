"""Tiny runs in which every policy family, sampler and algorithm occurs, and how far their numbers may move."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
from every_plugin import NEEDS, OPTIONS, fits, make, policy_for, schedule_of

from ddpo_bench.config import RunConfig
from ddpo_bench.options import options_of
from ddpo_bench.registry import get, names

RELATIVE = 1e-3  # 1e-7 of a sum of terms that cancel to a thousandth of them
ABSOLUTE = 1e-6  # of metrics that are 0 but for rounding: ratios less 1, KL of a policy to itself, losses at ratio 1
ONE_OF_A_KIND = ("ppo", "sac", "nft", "draft")  # on transitions, with a replay, on final samples, through the sampler
COMMON = ("ddim", "flow_sde")  # samplers, one of each process
SMALL = "pooled_diffusion"
OF_OTHER_FAMILIES = ("ppo", "draft")  # than Stable Diffusion: scored transitions, and gradients through the decoder
# Adam's first steps have the rate's size even where a gradient is little but rounding, unless epsilon is well above it.
GENTLE = {"learning_rate": 1e-3, "adam_epsilon": 1e-2}


def combinations(is_quick: Callable[[str, str], bool]) -> list[Any]:
    """Every algorithm on a small made-up network, one of each kind with Stable Diffusion, one with every sampler.

    Other families have two of the kinds.  All are `long`, except for those on small networks whose sampler and
    algorithm are quick.
    """
    found = []
    for policy, sampler, algorithm in itertools.product(names("policy"), names("sampler"), names("algorithm")):
        small = policy == policy_for(make("sampler", sampler))
        if not fits(make("sampler", sampler), schedule_of(policy)):
            continue
        of_a_kind = "ppo" if make("sampler", sampler).noisy_steps else "nft"
        kinds = ONE_OF_A_KIND if small or policy == "stable_diffusion" else OF_OTHER_FAMILIES
        wanted = algorithm in kinds if sampler in COMMON else small and algorithm == of_a_kind
        if wanted or (small and policy == SMALL):
            quick = small and is_quick(sampler, algorithm)
            found.append(pytest.param(policy, sampler, algorithm, marks=[] if quick else pytest.mark.long))
    return found


def run_of(
    tiny_run: Callable[..., RunConfig],
    tiny_pipeline: Callable[[str], Path],
    policy: str,
    sampler: str,
    algorithm: str,
    **changes: Any,
) -> RunConfig:
    stored = {"precision": "fp32"} | tiny_pipelines.QUICK.get(policy, {})
    if policy in tiny_pipelines.FAMILIES:
        stored["model"] = str(tiny_pipeline(policy))
    chosen: dict[str, Any] = {
        "policy": {"name": policy} | (stored if "model" in stored else {}),
        "sampler": {"name": sampler, "steps": 3},
        "algorithm": {"name": algorithm} | OPTIONS.get(("algorithm", algorithm), {}),
        "reward": "redness",
    }
    known = options_of(get("algorithm", algorithm))
    chosen["algorithm"] |= {key: value for key, value in GENTLE.items() if key in known}
    return tiny_run(**chosen | changes | NEEDS.get(("algorithm", algorithm), {}))


def assert_equal_but_for_rounding(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=RELATIVE, abs=ABSOLUTE)
