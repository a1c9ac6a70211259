"""Which implementation runs, and what is refused with one clear line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from affine_steps import (
    BATCH,
    SHAPE,
    make_step,
    normal,
)
from ddpo_kernels import (
    BackendUnavailable,
    check_backend,
    ppo_loss,
    sample,
    score,
)


def test_triton_on_a_plain_cpu_is_refused_in_one_line() -> None:
    step = make_step()
    calls: list[Callable[[], Any]] = [
        lambda: check_backend("triton", torch.device("cpu")),
        lambda: sample(step, normal(BATCH, *SHAPE, seed=2), backend="triton"),
        lambda: score(step, normal(BATCH, *SHAPE, seed=2), backend="triton"),
        lambda: ppo_loss(torch.zeros(3), torch.zeros(3), torch.ones(3), 0.2, backend="triton"),
    ]
    for call in calls:
        with pytest.raises(BackendUnavailable) as refusal:
            call()
        line = str(refusal.value)
        assert line.startswith("backend: triton: ")
        assert line.endswith("use auto or torch.")
        assert "\n" not in line


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    step = make_step()
    with pytest.raises(ValueError, match="'cuda' is not one of auto, triton, torch"):
        score(step, step.x_t, backend="cuda")  # type: ignore[arg-type]


def test_float64_is_not_for_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where triton could run: rounding float64 silently would spoil proofs."""
    monkeypatch.setattr("ddpo_kernels.backend.unavailable", lambda _: None)
    step = make_step(dtype=torch.float64, wide=True)
    with pytest.raises(BackendUnavailable, match=r"fp32, bf16 and fp16, not torch\.float64; use torch"):
        score(step, step.x_t, backend="triton")
    auto, reference = (score(step, step.x_t, backend=name).log_prob for name in ("auto", "torch"))
    assert auto.dtype == torch.float64
    assert torch.equal(auto, reference)


def test_auto_on_a_cpu_is_the_torch_reference() -> None:
    step = make_step()
    found, expected = (score(step, step.x_t, step.x_t, backend=name) for name in ("auto", "torch"))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    first = torch.autograd.grad(found.log_prob.sum(), step.model_output, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), step.model_output)[0]  # of which the operators have none
    assert second.abs().max() > 0


def test_noise_is_given_in_the_latents_dtype() -> None:
    step = make_step()
    with pytest.raises(ValueError, match=r"noise is torch\.float64, but x_t is torch\.float32"):
        sample(step, normal(BATCH, *SHAPE, seed=2).double())
