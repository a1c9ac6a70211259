"""What a run reads is known by its content: a changed file is another input, the same file elsewhere is not."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from ddpo_bench import fingerprints
from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.fingerprints import changed, file_hash


def identity(**keys: object) -> str:
    return run_config(keys, "test").identity()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "option"),
    [("from_file", "path"), ("counting", "nouns"), ("nouns_activities", "nouns"), ("nouns_activities", "activities")],
)
def test_a_changed_text_file_is_another_run_and_the_same_elsewhere_is_not(folder: Path, name: str, option: str) -> None:
    lines = [f"entry {i}\n" for i in range(40)]
    (folder / "a.txt").write_text("".join(lines))
    before = identity(prompts={"name": name, option: "a.txt"})
    assert identity(prompts={"name": name, option: str(folder / "a.txt")}) == before
    (folder / "a.txt").write_text("".join(lines[1:]))
    assert identity(prompts={"name": name, option: "a.txt"}) != before


@pytest.mark.parametrize("part", ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"])
def test_a_changed_model_is_another_run_and_a_copy_is_not(folder: Path, tiny_model: Path, part: str) -> None:
    copy = folder / "copy"
    shutil.copytree(tiny_model, copy)
    before = identity(policy={"name": "stable_diffusion", "model": str(tiny_model)})
    assert identity(policy={"name": "stable_diffusion", "model": "copy"}) == before
    (copy / "README.md").write_text("what nobody reads")
    assert identity(policy={"name": "stable_diffusion", "model": "copy"}) == before
    with (copy / part).open("a") as file:
        file.write("\n")
    assert identity(policy={"name": "stable_diffusion", "model": "copy"}) != before


def test_one_changed_number_in_the_weights_is_another_run(folder: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, folder / "copy")
    weights = folder / "copy/unet/diffusion_pytorch_model.safetensors"
    before, stat = identity(policy={"name": "stable_diffusion", "model": "copy"}), weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as cp -p and rsync -t leave it
    assert identity(policy={"name": "stable_diffusion", "model": "copy"}) != before


def test_a_changed_reward_module_or_its_helper_is_another_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "judge_a.py").write_text("def score(i, p, m):\n    from judge_b import helper\n    return helper(i)\n")
    (folder / "judge_b.py").write_text("import torch\ndef helper(images): return images.mean(dim=(1, 2, 3))\n")
    (folder / "unrelated.py").write_text("")

    def known() -> str:
        monkeypatch.delitem(sys.modules, "judge_a", raising=False)
        return identity(reward="python:judge_a:score")

    config = run_config({"reward": "python:judge_a:score"}, "test")
    assert config.inputs()["reward.module"].keys() == {"judge_a.py", "judge_b.py"}
    before = known()
    (folder / "unrelated.py").write_text("a = 1")
    assert known() == before
    for name in ("judge_a.py", "judge_b.py"):
        with (folder / name).open("a") as file:
            file.write("# changed\n")
        after = known()
        assert after != before
        before = after


def test_a_large_files_hash_is_kept_until_the_file_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(fingerprints, "LARGE", 4)
    read: list[str] = []
    really = fingerprints.read_hash
    monkeypatch.setattr(fingerprints, "read_hash", lambda path: read.append(path) or really(path))
    (folder / "weights").write_bytes(b"12345678")
    first = file_hash(folder / "weights")
    fingerprints.known_hash.cache_clear()  # as another command begins
    assert file_hash(folder / "weights") == first
    assert len(read) == 1
    (folder / "weights").write_bytes(b"12345679")
    assert file_hash(folder / "weights") != first


def test_a_home_that_cannot_be_written_to_is_no_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    monkeypatch.setattr(fingerprints, "LARGE", 4)
    (folder / "weights").write_bytes(b"another eight")
    assert file_hash(folder / "weights") == fingerprints.read_hash(str(folder / "weights"))


def test_files_that_differ_are_named_a_few_at_most() -> None:
    before = {"policy.model": {f"unet/{i}": "a" for i in range(5)}, "prompts.path": {"cats.txt": "a"}}
    after = {"policy.model": {}, "prompts.path": {"cats.txt": "b"}}
    assert changed(before, before) == ""
    assert changed(before, after) == "policy.model (unet/0, unet/1, unet/2 and 2 more), prompts.path (cats.txt)"


def test_the_shipped_model_is_known_by_its_files() -> None:
    assert "unet/config.json" in RunConfig().inputs()["policy.model"]
