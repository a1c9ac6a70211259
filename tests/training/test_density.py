"""A sampler without noise under algorithms that learn from log-probs, and under those that need none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ddpo_kernels import NoDensity
from run_rows import rows_of

from ddpo_bench.config import run_config
from ddpo_bench.parsing import ConfigError
from ddpo_bench.preflight.startup import config_mistakes
from ddpo_bench.registry import get
from ddpo_bench.training.generate import sample_images
from ddpo_bench.training.trainer import train

TINY: dict[str, Any] = {
    "reward": "target_colour",
    "samples_per_epoch": 8,
    "micro_batch": 4,
    "epochs": 1,
    "evaluation": {"samples": 8},
}
ETA, STEPS = r"^sampler\.eta: {} has no noisy step .* Use eta > 0, or", r"^sampler\.steps: {} .* Use more steps, or"


@pytest.mark.parametrize(
    ("policy", "sampler", "line"),
    [
        ("pooled_diffusion", {"name": "ddim", "eta": 0.0}, ETA.format("ddim")),
        ("pooled", {"name": "cps", "eta": 0.0}, ETA.format("cps")),
        ("pooled", {"name": "dance_sde", "steps": 1}, STEPS.format("dance_sde")),
        ("pooled", {"name": "ode"}, r"^sampler: ode has no noisy step .* Choose flow_sde, dance_sde or cps, or"),
        ("pooled", {"name": "dpm2"}, r"^sampler: dpm2 has no noisy step"),
    ],
)
def test_no_algorithm_learns_from_log_probs_that_do_not_exist(
    policy: str, sampler: dict[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the key before the model is loaded; algorithms without log-probs, and none, are free to sample."""
    config = run_config(TINY | {"policy": policy, "sampler": sampler}, "test")
    (mistake,) = config_mistakes(config)
    assert "\n" not in mistake
    monkeypatch.setattr(get("policy", policy), "start", lambda *given: pytest.fail("a model was loaded"))
    with pytest.raises(NoDensity, match=line) as raised:
        train(config, tmp_path)
    assert str(raised.value) == mistake
    for algorithm in ("nft", "awm", "frozen"):
        assert (
            config_mistakes(run_config(TINY | {"policy": policy, "sampler": sampler, "algorithm": algorithm}, "test"))
            == []
        )


def test_pictures_need_no_density() -> None:
    config = run_config(TINY | {"policy": "pooled", "sampler": "dpm2"}, "test")  # with ppo, which is not asked
    assert sample_images(config, ["a", "b"], 0, None).shape == (2, 8, 8, 3)


@pytest.mark.parametrize("algorithm", ["frozen", "draft"])
def test_where_nothing_has_a_density_no_kl_is_made_up(algorithm: str, tmp_path: Path) -> None:
    train(run_config(TINY | {"policy": "pooled", "sampler": "ode", "algorithm": algorithm}, "test"), tmp_path)
    rows = rows_of(tmp_path)
    assert any("eval/target_colour" in row for row in rows)
    assert not [key for row in rows for key in row if "kl_" in key]


def test_multistep_samplers_are_not_differentiated_step_by_step() -> None:
    with pytest.raises(ConfigError, match="sampler: a step of dpm2 depends on the steps before it, and draft"):
        run_config(TINY | {"policy": "pooled", "sampler": "dpm2", "algorithm": "draft"}, "test")
