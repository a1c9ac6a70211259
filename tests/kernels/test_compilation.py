"""The kernels compiled for four GPUs, in every specialisation, without having one: registers, accesses, layouts."""

from __future__ import annotations

import os
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compiling import Reduction, Usage, amd_opcodes, amd_usage, compiled, first_reduction, nvidia_usage, opcodes
from specialisations import (
    ALIGNED,
    BF16,
    FP16,
    FP32,
    GFX942,
    MIXED,
    ODD,
    SM_80,
    SM_90,
    SM_100,
    Backward,
    Dtypes,
    Forward,
    backwards,
    flag_pairs,
    forwards,
    loss_launch,
    noise_launch,
    totals_launches,
    unasked_forwards,
)
from triton.backends.compiler import GPUTarget

PER_THREAD = 8  # elements
SCALARS = 24  # more than coefficients and gradients together
LIMITS = Usage(registers=64, spilled=0)
SECONDS = 2.0


def identify(value: GPUTarget | Dtypes) -> str:
    if isinstance(value, GPUTarget):
        return f"sm_{value.arch}" if value.backend == "cuda" else str(value.arch)
    return "-".join(str(dtype).removeprefix("torch.") for dtype in value)


pytestmark = pytest.mark.long
NVIDIA = (SM_80, SM_90, SM_100)
TARGETS = (*NVIDIA, GFX942)
each_target = pytest.mark.parametrize("target", TARGETS, ids=identify)
each_precision = pytest.mark.parametrize(  # the usual one on every target, every one on the usual target
    ("target", "dtypes"),
    [*((target, MIXED) for target in TARGETS), *((SM_90, one) for one in (FP32, BF16, FP16))],
    ids=identify,
)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One compilation cache for all tests here, in all of pytest's processes, which so compile nothing twice."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(shared / "triton"))
        yield


def usage(kernel: Any, target: GPUTarget) -> Usage:
    return nvidia_usage(kernel.asm["cubin"]) if target in NVIDIA else amd_usage(kernel.asm["amdgcn"])


def compile_all(target: GPUTarget, dtypes: Dtypes) -> dict[Forward | Backward, Any]:
    flags = [*forwards(target, dtypes), *backwards(target, dtypes)]
    return {each: compiled(each.launch(target, dtypes), target) for each in flags}


def exceeds(used: Usage) -> bool:
    return used.registers > LIMITS.registers or used.spilled > LIMITS.spilled


def wide_accesses(flags: Forward | Backward, dtypes: Dtypes) -> int:
    """128-bit accesses of a thread to the latents that it moves."""
    return sum(PER_THREAD * dtype.itemsize // 16 for dtype in flags.streams(dtypes))


@each_precision
def test_nothing_spills_and_a_thread_takes_few_registers(target: GPUTarget, dtypes: Dtypes) -> None:
    used = {flags: usage(kernel, target) for flags, kernel in compile_all(target, dtypes).items()}
    assert {flags: found for flags, found in used.items() if exceeds(found)} == {}


@each_precision
def test_latents_move_in_128_bits_alone(target: GPUTarget, dtypes: Dtypes) -> None:
    kernels = compile_all(target, dtypes)
    if target == GFX942:
        for flags, kernel in kernels.items():
            assert_wide_on_amd(flags, dtypes, amd_opcodes(kernel.asm["amdgcn"]))
    else:
        codes = opcodes([kernel.asm["cubin"] for kernel in kernels.values()], target)
        for flags, code in zip(kernels, codes, strict=True):
            assert_wide_on_nvidia(flags, dtypes, code)


def assert_wide_on_nvidia(flags: Forward | Backward, dtypes: Dtypes, code: list[str]) -> None:
    """Everything narrower is a scalar: the index in 64 bits, coefficients and tile sums in 32."""
    accesses = Counter(opcode for opcode in code if opcode.startswith(("LDG", "STG", "LD.", "ST.", "ATOM", "RED.")))
    sums = (flags.target != "none") + (flags.reference != "none") if isinstance(flags, Forward) else 0
    scalar_loads = accesses.pop("LDG.E", 0) + accesses.pop("LDG.E.CONSTANT", 0)
    wide = accesses.pop("LDG.E.128", 0) + accesses.pop("STG.E.128", 0)
    assert wide == wide_accesses(flags, dtypes), flags
    assert accesses == Counter({"LDG.E.64": 1, "STG.E": sums}), flags
    assert scalar_loads <= SCALARS, flags


def assert_wide_on_amd(flags: Forward | Backward, dtypes: Dtypes, code: list[str]) -> None:
    """Latents go through buffer instructions; everything else is a scalar."""
    accesses = Counter(opcode for opcode in code if opcode.startswith("buffer_"))
    wide = accesses.pop("buffer_load_dwordx4", 0) + accesses.pop("buffer_store_dwordx4", 0)
    assert wide == wide_accesses(flags, dtypes), flags
    assert not accesses, flags


@each_precision
def test_a_latent_of_odd_size_compiles_without_spills(target: GPUTarget, dtypes: Dtypes) -> None:
    largest = [
        Forward(True, True, "x_prev", "output", False),
        Forward(True, True, "noise", "none", True),
        Backward(True, True, True, "output", False),
        Backward(True, True, True, "none", True),
    ]
    used = {flags: usage(compiled(flags.launch(target, dtypes, ODD, views=True), target), target) for flags in largest}
    assert {flags: found for flags, found in used.items() if found.spilled} == {}


def reductions(target: GPUTarget, dtypes: Dtypes, size: int, pair: tuple[bool, bool]) -> dict[Any, Reduction]:
    """How z^2 is summed by everything that scores or draws, from new tensors and from views into a trajectory."""
    kinds = [Forward(*pair, "x_prev", reference, False) for reference in ("none", "mean", "output")]
    kinds += [Forward(*pair, "noise", "none", mean) for mean in (False, True)]
    if size == ODD:
        return {
            (flags, views): first_reduction(compiled(flags.launch(target, dtypes, size, views), target))
            for flags, views in [*((flags, False) for flags in kinds), (kinds[0], True)]
        }
    return {flags: first_reduction(compiled(flags.launch(target, dtypes, size), target)) for flags in kinds}


@pytest.mark.parametrize("size", [ALIGNED, ODD])
@each_precision
def test_a_tile_is_summed_in_the_same_order_in_sampling_and_in_learning(
    target: GPUTarget, dtypes: Dtypes, size: int
) -> None:
    for pair in flag_pairs(target if size == ALIGNED else GFX942, dtypes):
        found = reductions(target, dtypes, size, pair)
        assert len(set(found.values())) == 1, found


@each_target
def test_drawing_and_comparing_at_once_sums_in_that_order_too(target: GPUTarget) -> None:
    flags = [*unasked_forwards(), Forward(True, True, "x_prev", "none", False)]
    kernels = {each: compiled(each.launch(target, BF16), target) for each in flags}
    assert {each: usage(kernel, target) for each, kernel in kernels.items() if exceeds(usage(kernel, target))} == {}
    found = {each: first_reduction(kernel) for each, kernel in kernels.items()}
    assert len(set(found.values())) == 1, found


FUSED = {  # operations on each element that the source writes as tl.fma
    Forward(False, False, "x_prev", "none", False): 1,  # mean
    Forward(True, False, "x_prev", "mean", False): 2,  # and guidance
    Forward(True, False, "noise", "none", True): 3,  # and the draw
    Forward(True, True, "noise", "none", False): 5,  # and x_0, and its part of the mean
    Backward(False, False, True, "none", False): 1,  # mean
    Backward(True, False, True, "output", False): 4,  # and guidance of two outputs, and the KL
    Backward(True, True, True, "none", True): 5,  # mean, guidance, x_0, its parts of the mean and the gradient
}


@pytest.mark.parametrize("size", [ALIGNED, ODD])
@each_target
def test_no_operations_are_fused_that_the_source_does_not_fuse(target: GPUTarget, size: int) -> None:
    for flags, written in FUSED.items():
        kernel = compiled(flags.launch(target, BF16, size), target)
        if target in NVIDIA:
            found = re.findall(r"\b(?:fma|mad)\.r[nzmp]\.\S*f32(?:x2)?", kernel.asm["ptx"])
        else:
            found = [
                code for code in amd_opcodes(kernel.asm["amdgcn"]) if re.match(r"v_(pk_)?(fma|mad|mac)\w*_f32", code)
            ]
        count = sum(2 if "x2" in code or "_pk_" in code else 1 for code in found)  # two elements at once
        assert count == written * PER_THREAD, (flags, found)


@pytest.mark.parametrize("size", [ALIGNED, ODD])
@each_target
def test_noise_fuses_nothing_and_needs_no_memory_but_registers(target: GPUTarget, size: int) -> None:
    """Each product is rounded before it is added to, in the machine's own code, as in torch."""
    kernel = compiled(noise_launch(target, size), target)
    assert not exceeds(usage(kernel, target))
    if target in NVIDIA:
        (code,) = opcodes([kernel.asm["cubin"]], target)
        assert [opcode for opcode in code if opcode.startswith(("FFMA", "MUFU"))] == []
        assert Counter(code)["STG.E.128" if size == ALIGNED else "STG.E"] > 0
    else:
        code = amd_opcodes(kernel.asm["amdgcn"])
        assert [opcode for opcode in code if re.match(r"v_(pk_)?(fma|mad|mac)\w*_f32", opcode)] == []


@each_target
def test_the_second_stage_and_the_loss_need_no_memory_but_registers(target: GPUTarget) -> None:
    launches = totals_launches(target) | {"ppo_loss": loss_launch(target)}
    used = {name: usage(compiled(given, target), target) for name, given in launches.items()}
    assert {name: found for name, found in used.items() if found.spilled} == {}


def processor_seconds() -> float:
    """Of this process and the assemblers that it has run; unlike wall-clock time, hardly more on a busy machine."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@each_target
def test_a_specialisation_compiles_in_under_two_seconds(
    target: GPUTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    small, *_ = totals_launches(target).values()
    compiled(small, target)  # pays for starting the compiler
    largest = [
        Forward(True, True, "x_prev", "output", False),
        Forward(True, True, "noise", "none", True),
        Backward(True, True, True, "output", False),
    ]
    launches = {str(flags): flags.launch(target, BF16) for flags in largest}
    launches |= {"ppo_loss": loss_launch(target), "normal": noise_launch(target)}
    taken = {}
    for name, given in launches.items():
        start = processor_seconds()
        compiled(given, target)
        taken[name] = processor_seconds() - start
    assert {name: seconds for name, seconds in taken.items() if seconds >= SECONDS} == {}
