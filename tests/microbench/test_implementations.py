"""The yardstick against diffusers and against ddpo_kernels, and every implementation against float64."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import ddpo_kernels
import pytest
import torch
from ddpo_kernels import AffineStep, gaussian_kl

from ddpo_bench.microbench import reference
from ddpo_bench.microbench.accuracy import error, exact_result
from ddpo_bench.microbench.calls import bind, not_measured
from ddpo_bench.microbench.cases import OPERATIONS, Case
from ddpo_bench.microbench.inputs import Inputs, make_inputs, make_sets
from ddpo_bench.microbench.measure import HostSynchronised, refuse_synchronisation
from ddpo_bench.microbench.schedule import ETA, GUIDANCE, STEPS, exact_table, scheduler

CPU = torch.device("cpu")


def inputs_of(dtype: str = "fp32", batch: int = 5, seed: int = 0) -> Inputs:
    return make_inputs(Case("score", "embedded", batch, dtype), CPU, seed)


@pytest.fixture
def exact_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alphas in float64, so that agreement can be asked for to many digits."""
    monkeypatch.setattr(scheduler(), "alphas_cumprod", scheduler().alphas_cumprod.double())
    monkeypatch.setattr(scheduler(), "final_alpha_cumprod", scheduler().final_alpha_cumprod.double())


@pytest.mark.usefixtures("exact_schedule")
@pytest.mark.parametrize("step", [0, 1, 25, STEPS - 2])
def test_the_reference_draws_what_diffusers_draws(step: int) -> None:
    inputs = inputs_of().double()
    timestep = scheduler().timesteps[step]
    unconditional, conditional = inputs.model_output.detach().chunk(2)
    output = unconditional + GUIDANCE * (conditional - unconditional)
    theirs = scheduler().step(output, timestep, inputs.x_t, eta=ETA, variance_noise=inputs.noise).prev_sample
    with torch.no_grad():
        x_prev, _ = reference.sample(inputs.model_output, inputs.x_t, timestep.expand(5), inputs.noise)
    torch.testing.assert_close(x_prev, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("exact_schedule")
def test_the_reference_and_the_kernels_follow_one_law_in_float64() -> None:
    inputs = inputs_of().double()
    step = AffineStep(inputs.model_output, inputs.x_t, inputs.table, inputs.index, GUIDANCE)
    ours = ddpo_kernels.score(step, inputs.x_prev, inputs.reference, backend="torch")
    given = (inputs.model_output, inputs.x_t, inputs.timestep, inputs.x_prev)
    log_prob, kl = reference.score_kl(*given, inputs.reference)
    torch.testing.assert_close(log_prob, ours.log_prob, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(kl, ours.kl, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(reference.score(*given)[0], log_prob, rtol=0, atol=0)
    for operation in ("backward", "loss", "learning_step"):
        [theirs], [exact] = (bind(name, operation, [inputs])[0]() for name in ("reference", "eager"))
        torch.testing.assert_close(theirs, exact, rtol=1e-9, atol=1e-12)


def test_the_references_log_prob_is_that_of_torch_distributions() -> None:
    inputs = inputs_of().double()
    mean, std = reference.law(inputs.model_output, inputs.x_t, inputs.timestep)
    expected = torch.distributions.Normal(mean, std).log_prob(inputs.x_prev).flatten(1).mean(1)
    torch.testing.assert_close(reference.log_density(inputs.x_prev, mean, std), expected)


def test_the_table_holds_the_schedule_of_the_last_step_with_a_density() -> None:
    a, a_prev = (scheduler().alphas_cumprod[t].double().item() for t in (1, 0))
    std = math.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
    assert exact_table()[-1, 5].item() == pytest.approx(std)


def test_inputs_are_what_the_law_draws_and_learns_from() -> None:
    inputs = inputs_of(batch=200)
    step = AffineStep(inputs.model_output, inputs.x_t, inputs.table, inputs.index, GUIDANCE)
    mean = ddpo_kernels.form_mean(step)
    std = inputs.table[inputs.index, 5]
    z = (inputs.x_prev - mean) / std.view(-1, 1, 1, 1)
    assert z.std().item() == pytest.approx(1, abs=0.02)
    assert gaussian_kl(mean, inputs.reference, std).mean().item() == pytest.approx(0.5 * 0.1**2, rel=0.05)
    clipped = ((inputs.log_prob - inputs.log_prob_old).exp() - 1).abs() > 0.2
    assert 0.3 < clipped.float().mean().item() < 0.7


def largest_error(implementation: str, operation: str) -> float:
    inputs = inputs_of()
    result = bind(implementation, operation, [inputs])[0]()
    exact = () if operation == "sample" else exact_result(operation, inputs)
    return error(operation, result, exact, inputs)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("implementation", ["reference", "eager"])
def test_errors_are_small_in_fp32(implementation: str, operation: str) -> None:
    assert 0 <= largest_error(implementation, operation) < 1e-4


def test_errors_of_the_interpreted_kernels_are_small_in_fp32() -> None:
    """In a process of its own: TRITON_INTERPRET must be set before triton is imported."""
    code = (
        "from test_implementations import OPERATIONS, largest_error\n"
        "print(*(largest_error('triton', operation) for operation in OPERATIONS))"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command, here = [sys.executable, "-c", code], Path(__file__).parent
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors = [float(word) for word in done.stdout.split()]
    assert len(errors) == len(OPERATIONS)
    assert max(errors) < 1e-4


def test_an_error_shows() -> None:
    inputs = inputs_of()
    (log_prob,), (gradient,) = (exact_result(operation, inputs) for operation in ("score", "backward"))
    assert error("score", (log_prob + 0.25,), (log_prob,), inputs) == pytest.approx(0.25)
    assert error("backward", (gradient * 1.01,), (gradient,), inputs) == pytest.approx(0.01)


def test_ours_scores_the_sample_as_stored_and_the_reference_does_not() -> None:
    inputs = inputs_of("bf16", batch=64)
    ours, theirs = (error("sample", bind(name, "sample", [inputs])[0](), (), inputs) for name in ("eager", "reference"))
    assert ours < 1e-4 < theirs


def test_a_set_is_differentiated_any_number_of_times_with_the_same_result() -> None:
    [call] = bind("eager", "backward", [inputs_of()])
    assert torch.equal(call()[0], call()[0])


def test_sets_exceed_the_cache_twice_and_differ_but_stay_within_memory() -> None:
    case = Case("loss", "embedded", 4, "fp32")
    read = Case("score", "embedded", 4, "fp32").bytes
    sets = make_sets(case, CPU, cache=10 * read, memory=10**9)
    assert len(sets) == 20
    assert not torch.equal(sets[0].x_t, sets[1].x_t)
    assert len(make_sets(case, CPU, cache=10 * read, memory=3 * sets[0].bytes)) == 3


def test_compile_needs_a_compiler_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not_measured("compile", CPU) == "there is no C++ compiler (no-such-compiler)"


def test_a_path_that_synchronises_with_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | int] = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def waits() -> tuple[torch.Tensor, ...]:
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(HostSynchronised, match=r"score, sd15 .* synchronises with the host: called a synchronizing"):
        refuse_synchronisation(Case("score", "sd15", 1, "fp32"), waits)
    assert modes == ["error", 0]
