"""`ddpo-bench conformance`: its table, JSON and exit codes, and what it says of functions that it cannot check."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from public_steps import ddim
from torch import Tensor

from ddpo_bench import cli, conformance
from ddpo_bench.samplers.ddim_step import ddim_step_with_logprob

FORK = """
from public_steps import ddim, flow
right, wrong, of_flow = ddim(), ddim("sum"), flow()
def strange(x, y): pass
def wrapped(a, b, c, d, **options): return right(a, b, c, d, **options)
def always(a, b, c, d, eta, prev_sample): pass
def needy(scheduler, model_output, timestep, sample, cond, eta=1.0, prev_sample=None): pass
"""


def single(
    scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor, eta: Any, prev_sample: Any = None
) -> Any:
    return sample


def broken(
    scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor, eta: Any, prev_sample: Any = None
) -> Any:
    return sample, 1 / 0


@pytest.fixture(autouse=True)
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `my_fork` in the current directory."""
    (tmp_path / "my_fork.py").write_text(FORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_fork", raising=False)


@pytest.mark.parametrize(
    ("arguments", "code", "failed"),
    [
        (["my_fork:right"], 0, []),
        (["my_fork:wrong"], 3, ["reduction"]),
        (["my_fork:of_flow"], 0, []),
        (["my_fork:wrapped", "--convention", "ddim"], 0, []),
    ],
)
def test_the_exit_code_is_3_where_a_check_fails(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, failed: list[str]
) -> None:
    assert cli.main(["conformance", *arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] == (not failed)
    assert [row["check"] for row in found["verdicts"] if row["status"] == "fail"] == failed


def test_the_table_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conformance", "my_fork:wrong"]) == 3
    output = capsys.readouterr().out
    assert "the log-prob is the sum over latent dimensions, not their mean" in output
    assert "23 passed, 1 failed, 0 not applicable." in output


@pytest.mark.parametrize(
    ("function", "mistake"),
    [
        ("my_fork", "write module:function, like my_fork:step_with_logprob; got 'my_fork'."),
        ("no_fork:right", "no module 'no_fork'"),
        ("my_fork:rigth", "unknown function of module my_fork 'rigth'. Did you mean 'right'?"),
        ("my_fork:strange", "strange(x, y) fits no convention. Wrap it in a function that can be called as ddim: f("),
        (
            "my_fork:needy",
            "needy(scheduler, model_output, timestep, sample, cond, eta, prev_sample) fits no convention.",
        ),
        ("my_fork:wrapped", "wrapped(a, b, c, d, options) fits no convention."),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], function: str, mistake: str
) -> None:
    assert cli.main(["conformance", function]) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("function", "said"), [(single, "returned Tensor, not (prev_sample, log_prob)"), (broken, "ZeroDivisionError")]
)
def test_what_a_function_raises_or_returns_wrongly_is_its_verdict(function: Callable[..., Any], said: str) -> None:
    verdicts = conformance.check(function)
    assert all(said in verdict.says for verdict in verdicts if verdict.failed)
    assert {verdict.name for verdict in verdicts if not verdict.failed} <= {"no noise"}


def test_the_names_that_a_forks_tests_are_parametrised_with_are_those_of_all_checks() -> None:
    names = conformance.names("ddim")
    assert [verdict.name for verdict in conformance.check(ddim_step_with_logprob)] == names
    conformance.demand(ddim_step_with_logprob, names[-1])


def test_a_forks_test_fails_with_the_sentence() -> None:
    with pytest.raises(AssertionError, match="reduction: fail: the log-prob is the sum"):
        conformance.demand(ddim("sum"), "reduction")
    with pytest.raises(conformance.DoesNotFit, match="Did you mean 'reduction'"):
        conformance.demand(ddim_step_with_logprob, "reductoin")
