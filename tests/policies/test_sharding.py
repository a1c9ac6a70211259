"""Weights sharded over two processes (FSDP2): the numbers, the checkpoints and the names of whole ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from process_group import Group, group_of
from torch import Tensor

from ddpo_bench.algorithm_bases.optimiser import Optimiser
from ddpo_bench.config import run_config
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.sharding import is_asked_for, is_sharded, sharding_mistakes
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.preflight.startup import config_mistakes
from ddpo_bench.protocols import CopyName
from ddpo_bench.training.ema import Ema

CPU = torch.device("cpu")
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}
COPIES: tuple[CopyName, ...] = ("old", "pretrained")
PROMPTS = ["a cat", "a dog", "a red bicycle", "the sea"]


def started(model: Path, adapter: str, checkpointing: bool = False) -> StableDiffusion:
    policy = StableDiffusion(model=str(model), adapter=Adapter(adapter), precision="fp32")  # type: ignore[arg-type]
    policy.start(CPU, 0)
    policy.prepare_network(compile_blocks=False, gradient_checkpointing=checkpointing)
    if is_sharded():
        policy.shard()
    return policy


def predicted(policy: StableDiffusion, rows: slice) -> Tensor:
    x_t = torch.randn(4, *policy.latent_shape, generator=torch.Generator().manual_seed(1))
    timesteps = torch.tensor([10, 300, 500, 900])
    return policy.predict(x_t[rows], timesteps[rows], policy.encode(PROMPTS[rows]))


def learn(policy: StableDiffusion, optimiser: Optimiser, own: slice) -> dict[str, Any]:
    """Three steps towards the negative of the pretrained model's output, and what they measure."""
    with torch.no_grad():
        predicted(policy, own)
    for _ in range(3):
        for row in range(own.start, own.stop):
            output = predicted(policy, slice(row, row + 1))
            with policy.copy("pretrained"):
                goal = -predicted(policy, slice(row, row + 1))
            ((output - goal).square().mean() / 4).backward()
        optimiser.step()
    return optimiser.metrics()


def trained(model: Path, adapter: str, own: slice, checkpointing: bool = False) -> dict[str, Any]:
    """A small training with an average and a lagged copy, as one state."""
    policy = started(model, adapter, checkpointing)
    optimiser = optimiser_of(policy)
    ema = Ema(policy, 0.5)
    policy.keep("old")
    with ema.following():
        measured = learn(policy, optimiser, own)
    outputs = {}
    with torch.no_grad():
        outputs["trained"] = predicted(policy, slice(0, 4))
        with ema.in_place():
            outputs["ema"] = predicted(policy, slice(0, 4))
        for name in COPIES:
            with policy.copy(name):
                outputs[name] = predicted(policy, slice(0, 4))
        outputs["again"] = predicted(policy, slice(0, 4))
    assert torch.equal(outputs["again"], outputs["trained"])
    assert torch.equal(outputs["old"], outputs["pretrained"])
    parts = {"policy": policy.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.state_dict()}
    return {"measured": measured, "outputs": outputs, **parts}


def resumed(model: Path, adapter: str, own: slice, place: Path) -> dict[str, Any]:
    """What a training is after another three steps from a saved state."""
    policy = started(model, adapter)
    optimiser, ema = optimiser_of(policy), Ema(policy, 0.5)
    state = torch.load(place, weights_only=True)
    policy.load_state_dict(state["policy"])
    optimiser.load_state_dict(state["optimiser"])
    ema.load_state_dict(state["ema"])
    with ema.following():
        measured = learn(policy, optimiser, own)
    return {"measured": measured, "policy": policy.state_dict(), "ema": ema.state_dict()}


def optimiser_of(policy: StableDiffusion) -> Optimiser:
    return Optimiser(policy.parameters(), 1e-2, 1e-4, adam_epsilon=1e-3, max_grad_norm=0.5)


def on_its_half(
    function: Callable[..., Any], environment: dict[str, str], model: Path, adapter: str, *given: Any
) -> Any:
    """What a function makes of this process's half of the rows with sharded weights."""
    rank = torch.distributed.get_rank()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (FSDP2 | environment).items():
            patch.setenv(name, value)
        return function(model, adapter, slice(2 * rank, 2 * rank + 2), *given)


def shard_sizes(model: Path, adapter: str, own: slice) -> tuple[int, int, list[str]]:
    """Numbers that this process holds of a network, and that there are; names of what is trained."""
    policy = started(model, adapter)
    weights = list(policy.network.parameters())
    kept = sum(weight.to_local().numel() for weight in weights)
    return kept, sum(weight.numel() for weight in weights), list(policy.state_dict())


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for rounding, which Adam carries on."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
    if isinstance(expected, dict | list):
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_close(found[key], expected[key])
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    with group_of(2) as group:
        yield group


@pytest.mark.parametrize(
    ("adapter", "reshard", "checkpointing"),
    [
        ("full", "false", False),
        pytest.param("lora", "true", False, marks=pytest.mark.long),
        pytest.param("full", "true", True, marks=pytest.mark.long),
        pytest.param("lora", "false", True, marks=pytest.mark.long),
    ],
)
def test_sharded_training_is_that_of_one_process_and_resumes_as_it(
    two: Group, tiny_model: Path, tmp_path: Path, adapter: str, reshard: str, checkpointing: bool
) -> None:
    sharding = {"FSDP_RESHARD_AFTER_FORWARD": reshard}
    first, second = two.call(on_its_half, trained, sharding, tiny_model, adapter, checkpointing)
    whole = trained(tiny_model, adapter, slice(0, 4), checkpointing)
    assert_close(first, whole)
    assert_close(second["outputs"], whole["outputs"])
    assert all(tensor.device.type == "meta" for tensor in second["policy"].values())  # process 0 alone writes
    for name, state in ("sharded", first), ("whole", whole):
        torch.save(state, tmp_path / name)
    expected = resumed(tiny_model, adapter, slice(0, 4), tmp_path / "whole")
    assert_close(resumed(tiny_model, adapter, slice(0, 4), tmp_path / "sharded"), expected)
    assert_close(two.call(on_its_half, resumed, sharding, tiny_model, adapter, tmp_path / "whole")[0], expected)


@pytest.mark.parametrize(
    "wrap",
    [
        "TRANSFORMER_BASED_WRAP",
        pytest.param("SIZE_BASED_WRAP", marks=pytest.mark.long),
        pytest.param("NO_WRAP", marks=pytest.mark.long),
    ],
)
def test_each_process_holds_half_of_the_network(two: Group, tiny_model: Path, wrap: str) -> None:
    wrapping = {"FSDP_AUTO_WRAP_POLICY": wrap, "FSDP_MIN_NUM_PARAMS": "1000"}
    for kept, whole, names in two.call(on_its_half, shard_sizes, wrapping, tiny_model, "lora"):
        assert kept == pytest.approx(whole / 2, rel=0.01)
        assert names == list(started(tiny_model, "lora").state_dict())


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2-zero2"])
def test_accelerate_reads_our_files_as_fsdp2(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = Path(__file__).parents[2] / "suites" / "accelerate" / f"{name}.yaml"
    given = launch_command_parser().parse_args(["--config_file", str(file), "-m", "ddpo_bench", "train", "ppo.yaml"])
    args, _, _ = _validate_launch_command(given)
    for variable, value in prepare_multi_gpu_env(args).items():
        monkeypatch.setenv(variable, value)
    assert is_asked_for()
    assert not sharding_mistakes()
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward == (name == "fsdp2")
    assert not is_sharded()  # one process holds them whole


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "Set fsdp_version: 2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "fsdp_reshard_after_forward: false"),
        (FSDP2, "micro_batch: auto"),
        (FSDP2, "policy: pooled_diffusion has no method `shard`"),
        (FSDP2, "compile: regional is not supported"),
        (FSDP2, "algorithm: trpo cannot learn"),
    ],
)
def test_what_cannot_be_sharded_is_refused_in_a_line(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    given = {"policy": "pooled_diffusion", "micro_batch": "auto"}
    configs = [run_config(given | more, "test") for more in ({"compile": "regional"}, {"algorithm": "trpo"})]
    assert [line for config in configs for line in config_mistakes(config) if words in line]
