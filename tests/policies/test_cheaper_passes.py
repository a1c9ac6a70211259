"""Compiled blocks and gradient checkpointing give the same numbers, and the memory that they are there for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpo_bench.algorithm_bases.law import law_of
from ddpo_bench.config import run_config
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.run_folder.metrics import read_rows
from ddpo_bench.samplers.ddim import DDIM
from ddpo_bench.training.trainer import compiles, train

CPU = torch.device("cpu")
PROMPTS = ["a dog", "two cats", "a frog"]
BATCHES = (slice(0, 2), slice(2, 3))  # of two sizes
VARIANTS = list(itertools.product(["full", "lora"], [1.0, 3.0], ["fp32", "bf16"]))


def started(
    model: Path | str, adapter: str, guidance: float, precision: str, compiled: bool, checkpointed: bool
) -> StableDiffusion:
    policy = StableDiffusion(str(model), Adapter(adapter), guidance, precision)  # type: ignore[arg-type]
    policy.start(CPU, seed=0)
    policy.prepare_network(compiled, checkpointed)
    return policy


def ratios(policy: StableDiffusion) -> Tensor:
    """Of steps drawn without gradients and scored with them afterwards, as sampling and learning do, batch by batch."""
    sampler = DDIM(steps=2)
    sampler.start(policy.scheduler_config, CPU)
    conditioning, generator = policy.encode(PROMPTS), torch.Generator().manual_seed(0)
    steps, drawn = torch.zeros(len(PROMPTS), dtype=torch.long), []
    x_t, noise = (torch.randn(len(PROMPTS), *policy.latent_shape, generator=generator) for _ in range(2))
    with torch.no_grad():
        for part in BATCHES:
            law = law_of(policy, sampler, x_t[part], steps[part], conditioning[part])
            x_prev, log_prob = law.draw(noise[part])
            drawn.append((part, x_prev, log_prob))
    scored = []
    for part, x_prev, log_prob in drawn:
        law = law_of(policy, sampler, x_t[part], steps[part], conditioning[part])
        scored.append((law.log_prob(x_prev) - log_prob).exp())
    ratio = torch.cat(scored)
    ratio.sum().backward()
    assert all(weight.grad is not None for weight in policy.parameters())
    return ratio.detach()


def assert_ratios_are_one(policy: StableDiffusion) -> None:
    assert torch.equal(ratios(policy), torch.ones(len(PROMPTS)))


@pytest.mark.parametrize(("adapter", "guidance", "precision"), VARIANTS)
def test_ratio_is_one_under_checkpointing(tiny_model: Path, adapter: str, guidance: float, precision: str) -> None:
    assert_ratios_are_one(started(tiny_model, adapter, guidance, precision, compiled=False, checkpointed=True))


class Perturbing:
    """A compiler whose every piece of code rounds in another direction, as compilers do by what they fuse."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, module: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.compiled += 1
        factor = 1 + 0.01 * self.compiled
        return lambda *given: [output * factor for output in module(*given)]


@pytest.mark.long
@pytest.mark.parametrize(("adapter", "checkpointed"), [("full", False), ("lora", True)])
def test_ratio_is_one_whatever_the_compiler_does(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, checkpointed: bool
) -> None:
    compiler, original = Perturbing(), torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, dynamic, options: original(self, dynamic=dynamic, backend=compiler)
    )
    policy = started(tiny_model, adapter, 3.0, "fp32", compiled=True, checkpointed=checkpointed)
    assert_ratios_are_one(policy)
    before = compiler.compiled
    assert before > 1
    assert_ratios_are_one(policy)
    assert compiler.compiled == before
    policy.is_compiled = False  # sampling without gradients runs other code, which the test must notice
    with pytest.raises(AssertionError):
        assert_ratios_are_one(policy)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_torchs_compiler_computes_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the transformer blocks at one size of batch, which takes a minute on a CPU."""
    monkeypatch.setattr("ddpo_bench.policies.cheaper_passes.CONVOLUTIONAL_BLOCKS", ())
    policy = started(tiny_model, "full", 3.0, "fp32", compiled=True, checkpointed=False)
    plain = started(tiny_model, "full", 3.0, "fp32", compiled=False, checkpointed=False)
    given = torch.zeros(2, *policy.latent_shape), torch.tensor([700, 3]), policy.encode(PROMPTS[:2])
    with torch.no_grad():
        sampled = policy.predict(*given)
    learned, expected = policy.predict(*given), plain.predict(*given)
    assert torch.equal(sampled, learned)
    torch.testing.assert_close(learned, expected, rtol=1e-5, atol=1e-5)
    for output in (learned, expected):
        output.square().mean().backward()
    for one, other in zip(policy.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_blocks_are_compiled_for_their_sizes_and_run_with_gradients_alone(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes ratios 1 in compiled code, without a compiler."""
    compiled: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled.append((type(self).__name__, options))
    )
    policy = started(tiny_model, "lora", 3.0, "fp32", compiled=True, checkpointed=False)
    assert {name for name, _ in compiled} == {"BasicTransformerBlock", "ResnetBlock2D"}
    assert all(options["dynamic"] is False for _, options in compiled)
    modes = []
    policy.network.register_forward_pre_hook(lambda *given: modes.append(torch.is_grad_enabled()))
    x_t = torch.zeros(2, *policy.latent_shape)
    with torch.no_grad():
        output = policy.predict(x_t, torch.tensor([700, 3]), policy.encode(PROMPTS[:2]))
    assert modes == [True]
    assert not output.requires_grad


def saved_bytes_and_gradients(model: str, adapter: str, checkpointed: bool) -> tuple[int, list[Tensor]]:
    """What a pass keeps for its backward pass, each tensor once, and what that gives."""
    policy = started(model, adapter, 3.0, "fp32", compiled=False, checkpointed=checkpointed)
    weights = {weight.untyped_storage().data_ptr() for weight in policy.network.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    x_t = torch.randn(3, *policy.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = policy.predict(x_t, torch.tensor([700, 300, 3]), policy.encode(PROMPTS))
    output.square().mean().backward()
    return sum(saved.values()), [weight.grad for weight in policy.parameters() if weight.grad is not None]


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_checkpointing_keeps_a_fraction_for_the_same_gradients(adapter: str) -> None:
    most, expected = saved_bytes_and_gradients("embedded", adapter, checkpointed=False)
    least, gradients = saved_bytes_and_gradients("embedded", adapter, checkpointed=True)
    assert least < most / 3
    assert len(gradients) == len(expected) > 0
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


def test_a_run_has_the_same_metrics_under_checkpointing(tiny_model: Path, tmp_path: Path) -> None:
    rows = []
    for checkpointed in (False, True):
        data = {
            "policy": {"name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32"},
            "sampler": {"name": "ddim", "steps": 2},
            "reward": "target_colour",
            "samples_per_epoch": 4,
            "micro_batch": 2,
            "epochs": 2,
            "evaluation": {"samples": 2},
            "gradient_checkpointing": checkpointed,
        }
        train(run_config(data, "test"), tmp_path / str(checkpointed))
        rows.append([timeless(row) for row in read_rows(tmp_path / str(checkpointed))])
    assert rows[0] == rows[1]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    measured = ("seconds_", "memory_", "images_per_second", "measured_at")
    return {name: value for name, value in row.items() if not name.startswith(measured)}


def test_blocks_are_compiled_on_gpus_alone() -> None:
    config = run_config({"compile": "regional"}, "test")
    assert compiles(config, torch.device("cuda"))
    assert not compiles(config, CPU)
    assert not compiles(run_config({}, "test"), torch.device("cuda"))


def test_how_a_run_is_executed_is_no_part_of_what_it_is() -> None:
    changed = {"compile": "regional", "gradient_checkpointing": True, "tf32": True}
    assert run_config(changed, "test").identity() == run_config({}, "test").identity()
