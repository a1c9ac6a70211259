"""Nothing is left unwritten, and NaN is never swallowed nor spread to other samples."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from cases import CLIP, DEVICE, gradient, make_reference, make_step, make_stored, normal
from ddpo_kernels import launch, ppo_loss, sample, score
from ddpo_kernels import normal as standard_normal
from torch import Tensor

SHAPES = [(1, 1, 1), (3, 17, 19), (1, 1, 2053)]


def poisoned(values: Tensor) -> Tensor:
    return values.fill_(float("nan")) if values.is_floating_point() else values


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every output of a launch starts as NaN; all of them are handed out."""
    made: list[Tensor] = []

    def new(self: Tensor, *arguments: Any, **options: Any) -> Tensor:
        made.append(poisoned(self.new_zeros(*arguments, **options)))
        return made[-1]

    class Torch:
        """torch, as the module of the launches sees it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def empty(self, *arguments: Any, **options: Any) -> Tensor:
            made.append(poisoned(torch.zeros(*arguments, **options)))
            return made[-1]

    monkeypatch.setattr(Tensor, "new_empty", new)
    monkeypatch.setattr(launch, "torch", Torch())
    return made


def assert_written(made: list[Tensor], outputs: list[Tensor]) -> None:
    assert any(values.numel() for values in made)
    assert not any(values.isnan().any() for values in outputs)


@pytest.mark.parametrize(("shape", "guided", "clip"), list(itertools.product(SHAPES, (False, True), (None, CLIP))))
def test_every_element_of_every_output_is_written(
    poison: list[Tensor], shape: tuple[int, ...], guided: bool, clip: float | None
) -> None:
    step = make_step(shape, guided=guided, clip=clip)
    drawn = sample(step, normal(3, *shape, seed=6), with_mean=True, backend="triton")
    samples = torch.arange(3, device=DEVICE)
    noise = standard_normal(5, samples, samples, shape, backend="triton")
    outputs = [drawn.x_prev, drawn.mean, drawn.log_prob, noise, gradient(drawn.log_prob.sum(), step)]
    x_prev, reference = drawn.x_prev.detach(), make_reference(step, "output")
    for scored in (score(step, x_prev, backend="triton"), score(step, None, reference, "output", backend="triton")):
        outputs += [scored.log_prob, scored.kl, gradient(torch.cat([scored.log_prob, scored.kl]).sum(), step)]
    assert_written(poison, outputs)


@pytest.mark.parametrize("batch", [1, 128, 130])
def test_every_element_of_the_loss_is_written(poison: list[Tensor], batch: int) -> None:
    log_prob, old, advantages = (normal(batch, seed=seed) for seed in (1, 3, 4))
    loss, statistics = ppo_loss(log_prob.requires_grad_(), old, advantages, 0.1, backend="triton")
    assert_written(poison, [loss, *statistics, *torch.autograd.grad(loss, log_prob)])


@pytest.mark.parametrize("clip", [None, CLIP])
@pytest.mark.parametrize("where", ["model output", "uncond", "x_t", "x_prev", "reference"])
def test_nan_in_one_sample_is_nan_in_its_results_and_in_no_others(where: str, clip: float | None) -> None:
    step = make_step(guided=True, clip=clip)
    x_prev, reference = make_stored(step), make_reference(step, "output")
    output, x_t = step.model_output.detach().clone(), step.x_t.clone()
    tensors = {"model output": output, "uncond": output, "x_t": x_t, "x_prev": x_prev, "reference": reference}
    sick = tensors[where][4 if where == "model output" else 1]
    sick[2, 16, 18] = float("nan")  # the last element: beyond it a tile is masked
    step = replace(step, model_output=output.requires_grad_(), x_t=x_t)
    scored = score(step, x_prev, reference, "output", backend="triton")
    by_output = gradient((scored.log_prob + scored.kl).sum(), step)
    in_log_prob, in_kl = where != "reference", where != "x_prev" and not (where == "x_t" and clip is None)
    assert scored.log_prob.isnan().tolist() == [False, in_log_prob, False]
    assert scored.kl.isnan().tolist() == [False, in_kl, False]
    expected = torch.zeros_like(by_output, dtype=torch.bool)
    expected[[1, 4], 2, 16, 18] = True
    assert torch.equal(by_output.isnan(), expected)


@pytest.mark.parametrize("where", ["log_prob", "log_prob_old", "advantages"])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_nan_in_one_sample_is_nan_in_the_loss(where: str, advantage: float) -> None:
    """And in the gradient of that sample alone, and in the statistics that see it."""
    given = {name: torch.zeros(130, device=DEVICE) for name in ("log_prob", "log_prob_old")}
    given["advantages"] = torch.full((130,), advantage, device=DEVICE)
    given[where][129] = float("nan")
    given["log_prob"].requires_grad_()
    loss, statistics = ppo_loss(**given, clip_range=0.1, backend="triton")
    assert loss.isnan()
    assert torch.autograd.grad(loss, given["log_prob"])[0].isnan().nonzero().flatten().tolist() == [129]
    seen = {name for name, value in statistics._asdict().items() if value.isnan()}
    assert seen == (set() if where == "advantages" else {"kl_k1", "kl_k3"})


def test_nan_in_a_step_is_nan_in_its_loss_and_gradient() -> None:
    step = make_step(guided=True)
    x_prev = make_stored(step)
    old = score(step, x_prev, backend="triton").log_prob.detach()
    x_prev[1, 0, 0, 0] = float("nan")
    log_prob = score(step, x_prev, backend="triton").log_prob
    loss, _ = ppo_loss(log_prob, old, torch.ones_like(old), 0.1, backend="triton")
    assert loss.isnan()
    by_output = gradient(loss, step)
    assert by_output[[1, 4]].isnan().all()  # its ratio is NaN, and every element's gradient has it as a factor
    assert not by_output[[0, 2, 3, 5]].isnan().any()
