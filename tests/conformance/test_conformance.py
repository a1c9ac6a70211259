"""Right step functions pass every check, ours too; of each planted fault exactly the checks that name it fail."""

from __future__ import annotations

from typing import Any

import pytest
from public_steps import ddim, flow

from ddpo_bench import conformance
from ddpo_bench.samplers.ddim_step import ddim_step_with_logprob


def failing(function: Any) -> set[str]:
    return {verdict.name for verdict in conformance.check(function) if verdict.failed}


def grid(prediction: str, *places: str) -> set[str]:
    return {f"log-prob, {prediction}, {place} step" for place in places or ("first", "middle", "last")}


DDIM = ("epsilon", "v_prediction", "sample")
RATIOS = {"ratio, float32", "ratio, bfloat16", "ratio, float16"}
DDIM_FAULTS = {
    "sum": {"reduction"},
    "unweighted squares": {"reduction", "constants"},
    "no constants": {"constants"},
    "no 2 pi": {"constants"},
    "no log std": {"constants"},
    "rounded after scoring": {"ratio, bfloat16", "ratio, float16"},
    "gradient through prev_sample": {"gradient through prev_sample"},
    "gradient halved": {"gradient"},
    "no gradient": {"gradient"},
    "wrong last step": {name for kind in DDIM for name in grid(kind, "last")} | {"drawn samples"} | RATIOS,
    "first step of another schedule": {name for kind in DDIM for name in grid(kind, "first")} | {"drawn samples"},
    "sigma floor": {name for kind in DDIM for name in grid(kind, "last")} | {"drawn samples"},
    "wrong v-prediction": grid("v_prediction"),
    "batch-global statistics": {"batch invariance", "mixed timesteps"},
    "first timestep for all": {"mixed timesteps"},
    "wrong shared timestep": {"shared timestep"},
    "item per sample": {"synchronisations"},
    "too little noise": {"drawn samples"},
    "own seed": {"determinism"},
    "unseeded": {"determinism"},
    "no refusal": {"no noise"},
    "sample clamped": {"prev_sample untouched"},
    "changed in place": {"prev_sample untouched"},
}
FLOW_FAULTS = {
    "another first sigma": {"std", "mean, first step", "drawn samples", *grid("velocity", "first")},
    "g for std": {"std"},
    "another mean returned": {"mean, first step", "mean, middle step", "mean, last step"},
    "no refusal": {"no noise"},
}


@pytest.mark.parametrize("function", [ddim(), flow(), ddim_step_with_logprob], ids=["ddim", "flow", "ours"])
def test_right_functions_pass_every_check(function: Any) -> None:
    verdicts = conformance.check(function)
    assert [str(verdict) for verdict in verdicts if verdict.status != "pass"] == []


@pytest.mark.parametrize("fault", DDIM_FAULTS)
def test_each_fault_of_a_ddim_step_is_named(fault: str) -> None:
    assert failing(ddim(fault)) == DDIM_FAULTS[fault]


def test_a_law_that_is_another_one_leaves_open_how_it_is_reduced() -> None:
    verdicts = {verdict.name: verdict.status for verdict in conformance.check(flow("constant noise"))}
    assert verdicts["log-prob, velocity, middle step"] == verdicts["gradient"] == verdicts["std"] == "fail"
    assert verdicts["reduction"] == verdicts["constants"] == "not applicable"


@pytest.mark.parametrize("fault", FLOW_FAULTS)
def test_each_fault_of_a_flow_step_is_named(fault: str) -> None:
    assert failing(flow(fault)) == FLOW_FAULTS[fault]
