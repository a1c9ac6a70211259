"""Compiles what launch.py launches, ahead of time and without a GPU, and reads what the compiler made of it.

The kernels that launch.py names are replaced by recorders, so that signatures, flags, warps and options are those of
the real launches.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import triton
from ddpo_kernels import launch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.int64: "i64"}


@dataclass(frozen=True)
class Launch:
    """A kernel and what it was launched with."""

    kernel: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Recorder:
    """Stands in for a kernel, and keeps its launches instead of running them."""

    def __init__(self, kernel: Any, launches: list[Launch]):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Recorder:
        return self

    def __call__(self, *arguments: Any, **keywords: Any) -> None:
        self.launches.append(Launch(self.kernel, arguments, keywords))


@contextmanager
def recording(target: GPUTarget) -> Iterator[list[Launch]]:
    """Collects the launches made inside it, as they would be made on a target."""
    launches: list[Launch] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "WAVE", target.warp_size)
        for name in ("step_forward", "step_totals", "step_backward", "ppo_loss", "normal"):
            patch.setattr(launch, name, Recorder(getattr(launch, name), launches))
        yield launches


def described(parameter: Any, value: Any, backend: Any) -> tuple[str, list[list[Any]]]:
    """Type and attributes of an argument, as Triton specialises on it."""
    if isinstance(value, Tensor):
        return "*" + TYPES[value.dtype], backend.parse_attr(backend.get_tensor_specialization(value, align=True))
    if isinstance(value, int):
        assert parameter.do_not_specialize, f"{parameter.name}: every other value would be compiled anew"
        return ("i32" if -(2**31) <= value < 2**31 else "i64"), []
    assert isinstance(value, float), parameter.name
    return "fp32", []


def compiled(given: Launch, target: GPUTarget) -> Any:
    """Triton's compiled kernel: its `asm` has every stage, its `metadata` the warps."""
    kernel, backend = given.kernel, make_backend(target)
    constants = {name: value for name, value in given.keywords.items() if name in kernel.arg_names}
    options = {name: value for name, value in given.keywords.items() if name not in constants}
    signature, attributes = dict.fromkeys(constants, "constexpr"), {}
    for position, (parameter, value) in enumerate(zip(kernel.params, given.arguments, strict=False)):
        signature[parameter.name], found = described(parameter, value, backend)
        if found:
            attributes[(position,)] = found
    signature = {name: signature[name] for name in kernel.arg_names}
    return triton.compile(ASTSource(kernel, signature, constants, attributes), target=target, options=options)


class Usage(NamedTuple):
    """What a thread needs: registers, and bytes of memory for what did not fit into them."""

    registers: int
    spilled: int


def tool(name: str, *arguments: str, content: bytes) -> str:
    """Output of one of the disassemblers that Triton ships, for a file with the content."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return subprocess.run([TOOLS / name, *arguments, file.name], check=True, capture_output=True, text=True).stdout


def nvidia_usage(cubin: bytes) -> Usage:
    printed = tool("cuobjdump", "-res-usage", content=cubin)
    registers, stack, local = (int(re.search(rf"\b{name}:(\d+)", printed)[1]) for name in ("REG", "STACK", "LOCAL"))
    return Usage(registers, stack + local)


def amd_usage(amdgcn: str) -> Usage:
    names = ("vgpr_count", "vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size")
    registers, *spilled = (int(re.search(rf"^ +\.{name}: +(\d+)$", amdgcn, re.MULTILINE)[1]) for name in names)
    return Usage(registers, sum(spilled))


def code_of(cubin: bytes) -> bytes:
    """The instructions of an ELF file's only function: its section named .text.<function>."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    entry_size, entries, names_entry = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + entry * entry_size) for entry in range(entries)]
    names = sections[names_entry][4]
    found = [section for section in sections if cubin.startswith(b".text.", names + section[0])]
    assert len(found) == 1, f"{len(found)} functions in a cubin"
    offset, size = found[0][4:]
    return cubin[offset : offset + size]


def opcodes(cubins: list[bytes], target: GPUTarget) -> list[list[str]]:
    """SASS opcodes of each cubin; disassembled as one file, because starting a disassembler takes most of its time."""
    codes = [code_of(cubin) for cubin in cubins]
    printed = tool("nvdisasm", "--binary", f"SM{target.arch}", content=b"".join(codes))
    lines = re.findall(r"^ +/\*([0-9a-f]+)\*/ +(?:@!?U?P\w+ +)?([A-Z][\w.]*)", printed, re.MULTILINE)
    kept: list[list[str]] = [[] for _ in codes]
    which, end = 0, len(codes[0])
    for address, opcode in lines:
        if int(address, 16) >= end:
            which, end = which + 1, end + len(codes[which + 1])
        kept[which].append(opcode)
    assert sum(map(len, kept)) * 16 == sum(map(len, codes)), "an instruction of 16 bytes was not read"
    return kept


def amd_opcodes(amdgcn: str) -> list[str]:
    return re.findall(r"^\s+([a-z]+_[a-z]\w+)", amdgcn, re.MULTILINE)


class Reduction(NamedTuple):
    """All that decides the order in which a tile is summed, except for its values.

    `tl.sum` of a whole tile first deals its elements out anew within their threads, so both layouts matter.
    """

    attributes: str
    shape: str
    layouts: tuple[str, ...]
    warps: int


def first_reduction(kernel: Any) -> Reduction:
    """The first sum of a kernel, from its Triton GPU IR."""
    ttgir = re.sub(r" loc\(.*?\)$", "", kernel.asm["ttgir"], flags=re.MULTILINE)
    pattern = r'"tt\.reduce"\((%\w+)\) <\{(.*?)\}> \(\{.*?\}\) : \(tensor<(\w+), #\w+>\) -> f32'
    operand, attributes, shape = re.search(pattern, ttgir, re.DOTALL).groups()
    types = re.search(rf"^ *{operand} = tt\.reshape %\w+ allow_reorder.* : (.*)$", ttgir, re.MULTILINE)[1]
    layouts = [re.search(rf"^{name} = (.*)$", ttgir, re.MULTILINE)[1] for name in re.findall(r"#\w+", types)]
    return Reduction(attributes, shape, tuple(layouts), kernel.metadata.num_warps)
