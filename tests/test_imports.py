"""Imports point downward only, as the design's rooms say: read from the source, so that late imports count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import ddpo_kernels
import pytest

import ddpo_bench

ROOT = Path(ddpo_bench.__file__).parent
KERNELS = Path(ddpo_kernels.__file__).parent
LEAVES = {
    "architectures", "checksummed", "choices", "config", "copies", "files", "fingerprints", "held_out", "host_memory",
    "judge", "measuring", "moments", "noise", "options", "parsing", "process_errors", "processes", "protocols",
    "quantity", "registry", "whole_tensors", "yaml_file",
}  # fmt: skip
PLUGINS = {"policies", "samplers", "algorithms", "advantages", "rewards", "prompts"}

ALLOWED: dict[str, set[str]] = {
    "config": {"choices", "fingerprints", "held_out", "judge", "options", "parsing", "registry"},
    "choices": {"fingerprints", "options", "registry"},
    "judge": {"choices", "options", "parsing"},
    "parsing": {"choices", "options", "registry"},
    "fingerprints": {"files"},
    "architectures": set(),
    "copies": set(),
    "whole_tensors": {"processes"},
    "held_out": set(),
    "host_memory": set(),
    "options": set(),
    "quantity": set(),
    "registry": set(),  # it finds the plugins' folders by name
    "protocols": {"config", "copies", "host_memory", "measuring", "noise"},
    "measuring": {"processes"},
    "moments": set(),
    "noise": set(),
    "describe": {"choices", "options", "parsing", "registry"},
    "files": set(),
    "yaml_file": {"parsing"},
    "checksummed": {"files", "yaml_file"},
    "run_folder": {"checksummed", "config"},
    "embedded": {"files"},
    "policies": LEAVES | {"embedded"},
    "samplers": LEAVES,
    "algorithm_bases": LEAVES,
    "algorithms": LEAVES | {"algorithm_bases"},
    "advantages": LEAVES,
    "reward_bases": LEAVES | {"embedded"},
    "rewards": LEAVES | {"embedded", "reward_bases"},
    "prompts": LEAVES | {"embedded"},
    "training": LEAVES
    | PLUGINS
    | {"algorithm_bases", "reward_bases", "alive", "child_processes", "quiet", "run_folder", "signals"},
    "sweep": LEAVES | PLUGINS | {"alive", "child_processes", "quiet", "training", "run_folder", "signals"},
    "preflight": LEAVES
    | PLUGINS
    | {"algorithm_bases", "reward_bases", "embedded", "run_folder", "training", "sweep", "throughput"},
    "tuning": LEAVES | {"run_folder", "training", "sweep", "analysis", "console"},
    "analysis": {
        "config",
        "fingerprints",
        "options",
        "quantity",
        "registry",
        "files",
        "checksummed",
        "run_folder",
    },
    "microbench": LEAVES | {"analysis", "embedded"},
    "throughput": LEAVES | PLUGINS | {"algorithm_bases", "reward_bases", "analysis", "microbench", "noise", "training"},
    "conformance": LEAVES | {"reward_bases"},
    "reward_server": LEAVES | {"reward_bases"},
    "serve": LEAVES
    | PLUGINS
    | {"algorithm_bases", "reward_bases", "alive", "analysis", "embedded", "run_folder", "sweep", "training"},
    "console": LEAVES | {"analysis", "sweep"},
    "commands": LEAVES
    | PLUGINS
    | {
        "embedded",
        "run_folder",
        "training",
        "sweep",
        "preflight",
        "tuning",
        "analysis",
        "conformance",
        "console",
        "describe",
        "microbench",
        "quiet",
        "reward_bases",
        "reward_server",
        "serve",
        "throughput",
    },
    "encoding": set(),
    "alive": set(),
    "processes": set(),
    "process_errors": {"processes"},
    "signals": set(),
    "child_processes": {"signals"},
    "quiet": set(),
    "cli": {"commands", "encoding", "quiet", "signals"},
    "__main__": {"cli"},
}
SOURCES = sorted(ROOT.rglob("*.py"))
HEAVY = {"torch", "diffusers", "transformers", "peft", "accelerate"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            inside = node.module == "ddpo_bench"
            found |= {f"ddpo_bench.{alias.name}" for alias in node.names} if inside else {node.module}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("ddpo_bench.")}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


@pytest.mark.parametrize("path", [path for path in SOURCES if path != ROOT / "__init__.py"], ids=name_of)
def test_imports_point_downward_only(path: Path) -> None:
    upward = rooms_imported(path) - ALLOWED[room(path)] - {room(path)}
    assert not upward, f"{name_of(path)} imports {sorted(upward)}"


@pytest.mark.parametrize("folder", sorted(PLUGINS))
def test_plugins_of_one_kind_know_no_other_kind(folder: str) -> None:
    for path in (ROOT / folder).glob("*.py"):
        assert not rooms_imported(path) & (PLUGINS - {folder})


def test_reading_results_never_imports_torch() -> None:
    for path in [*(ROOT / "analysis").rglob("*.py"), *(ROOT / "run_folder").rglob("*.py")]:
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY


def test_the_kernels_import_torch_and_triton_alone() -> None:
    for path in KERNELS.glob("*.py"):
        roots = {name.split(".")[0] for name in imported(path)}
        assert roots <= {"ddpo_kernels", "torch", "triton"} | sys.stdlib_module_names


def test_no_top_level_module_takes_the_name_of_hugging_faces_kernels(tmp_path: Path) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('kernels'))"
    found = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(ROOT.parent) not in found.stdout
