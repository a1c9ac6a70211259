"""What is derived from measured seconds, and what a measurement does where memory does not suffice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ddpo_bench.architectures.flops import PassFlops
from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.throughput import loops, measure
from ddpo_bench.throughput.measure import Bench, accumulated, fitted, one_round, row
from ddpo_bench.throughput.measured import Measured, Round, without_memory
from ddpo_bench.throughput.memory import peak_memory, reset_peak_memory
from ddpo_bench.throughput.peak import matrix_product_peak
from ddpo_bench.throughput.report import comma_separated, markdown, screen_tables
from ddpo_bench.throughput.run import Measurements, flops_of_pass
from ddpo_bench.throughput.settings import OWN, PLAIN, Setting, settings
from ddpo_bench.training.trainer import start_policy

CPU = torch.device("cpu")


def config(**changes: Any) -> RunConfig:
    plain = {"policy": {"name": "stable_diffusion", "precision": "fp32"}, "sampler": {"steps": 10}, "micro_batch": 4}
    return run_config(plain | {"samples_per_epoch": 16, "algorithm": {"name": "ppo", "minibatches": 2}} | changes, "")


def setting(loop: str = OWN, **changes: Any) -> Setting:
    return Setting("ppo", loop, config(**changes), None)


class Half:
    """A policy of which the row reads the precision alone."""

    resolved_precision = torch.bfloat16
    device = CPU


def measured(seconds: dict[str, float], loop: str = OWN) -> Measured:
    """From 3 rounds of 5 of 10 steps and 2 micro-batches of 4."""
    bench = Bench(Half(), None, PassFlops(1_000, 2_000), 1e6, 1.0)  # type: ignore[arg-type]
    return row(bench, setting(loop), [Round(seconds, 100)] * 3, steps=5, chunks=2)


ROUND = {"network": 0.4, "law": 0.1, "decoding": 0.2, "learning": 3.0}


def test_an_image_takes_all_of_its_steps_and_transitions() -> None:
    """Of a round of 4 images, half of the steps, and 8 of their 40 transitions."""
    it = measured(ROUND)
    assert it.seconds == pytest.approx({"network": 0.2, "law": 0.05, "decoding": 0.05, "learning": 3.75})
    assert it.images_per_second == pytest.approx(1 / 4.05)
    assert (it.precision, it.memory, it.transitions) == ("bf16", 100, 10)


def test_utilisation_is_counted_flops_by_seconds_by_the_peak() -> None:
    it = measured(ROUND)
    assert it.sampling_utilisation == pytest.approx(10 * 1_000 / 0.25 / 1e6)
    assert it.learning_utilisation == pytest.approx(10 * 3_000 / 3.75 / 1e6)


def test_rows_are_compared_with_the_plain_loop_that_does_the_same_work() -> None:
    own, plain = measured(ROUND), measured(ROUND | {"learning": 6.0}, PLAIN)
    made = Measurements(CPU, 1.0, [own, plain, without_memory(setting(micro_batch=2))])
    first, second, third = comma_separated(made).splitlines()[1:]
    assert first.split(",")[9] == f"{7.8 / 4.05:.6g}"
    assert second.split(",")[9] == ""
    assert third.endswith("out of memory")
    assert "| out of memory |" in markdown(made, {"command": "x"}, "name")
    assert [len(table.rows) for table in screen_tables(made)] == [3, 2]


def test_a_round_fits_the_time_and_is_no_larger_than_an_epochs() -> None:
    """A round of 1 s has room for 4 steps of 0.1 s, and 2 micro-batches of 0.3 s."""
    tried = [Round({"network": 0.15, "law": 0.05, "decoding": 0.0, "learning": 0.3}, 0)]
    assert fitted(tried, [setting()], 3.0) == (4, 2)
    assert accumulated(setting()) == 20  # 16 x 10 transitions in 2 optimiser steps of micro-batches of 4
    assert fitted(tried, [setting()], 1e9) == (10, 20)
    assert fitted(tried, [setting()], 0.0) == (2, 1)
    assert fitted([], [setting()], 1.0) == (2, 1)


def test_every_setting_has_its_plain_loop_once() -> None:
    made = settings({"ppo": config(), "frozen": config(algorithm="frozen")}, None, [1, 2], ["fp32", "bf16"], [], False)
    names = [(it.label, it.loop, it.config.policy.options["precision"], it.micro_batch) for it in made]
    assert len(names) == 12
    assert names[:3] == [("ppo", OWN, "fp32", 1), ("frozen", OWN, "fp32", 1), ("ppo", PLAIN, "fp32", 1)]
    compiled = settings({"ppo": config()}, None, [], [], ["regional"], True)
    ways = [(it.loop, it.config.compile, it.config.gradient_checkpointing) for it in compiled]
    assert ways == [(OWN, "regional", True), (PLAIN, "none", False)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("you can't allocate memory: 1 EB")])
def test_too_little_memory_is_a_row_and_no_end(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> dict[str, float]:
        raise error

    monkeypatch.setattr(measure, "seconds_of_round", fails)

    class Policy:
        device = CPU

        def parameters(self) -> list[torch.nn.Parameter]:
            return []

    work = loops.Work(config(), Policy(), None, [], [], None)  # type: ignore[arg-type]
    assert one_round(work, setting()) is None


def test_counting_leaves_a_policy_as_it_was(tiny_model: Path) -> None:
    """Guidance doubles a pass; LoRA leaves out most of the gradients of weights."""
    found = {}
    for adapter, guidance in (("full", 1.0), ("full", 3.0), ("lora", 3.0)):
        options = {"name": "stable_diffusion", "model": str(tiny_model), "precision": "fp32"}
        options |= {"guidance_scale": guidance, "adapter": {"name": adapter}}  # type: ignore[dict-item]
        policy, _ = start_policy(config(policy=options), CPU)
        before = [parameter.detach().clone() for parameter in policy.parameters()]
        found[adapter, guidance] = flops_of_pass(policy)
        pairs = list(zip(before, policy.parameters(), strict=True))
        assert all(type(new.data) is torch.Tensor and torch.equal(old, new) and new.grad is None for old, new in pairs)
    assert found["full", 3.0].forward == 2 * found["full", 1.0].forward
    assert found["lora", 3.0].backward < 0.75 * found["full", 3.0].backward


def test_the_peak_is_what_was_in_use_since_it_was_reset() -> None:
    big = torch.ones(50_000_000)
    assert peak_memory(CPU) > big.nbytes
    del big
    reset_peak_memory(CPU)
    assert 1e7 < peak_memory(CPU) < 1e11
    assert matrix_product_peak(CPU, torch.float32).flops > 1e8
