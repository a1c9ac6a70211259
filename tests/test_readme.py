"""The README says what the committed results say, and its example algorithm works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from run_rows import rows_of

from ddpo_bench import cli, registry
from ddpo_bench.config import run_config
from ddpo_bench.training.trainer import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def committed(path: str) -> str:
    """A file as committed, because `make run` writes the user's own results over it; without git, as it lies there."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else (ROOT / path).read_text(encoding="utf-8")


def grid(text: str) -> list[str]:
    """Lines of the first Markdown table."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    end = next((index for index in range(start, len(lines)) if not lines[index].startswith("|")), len(lines))
    return lines[start:end]


def test_its_table_is_the_committed_one() -> None:
    shown = README.split("<!-- results")[1].split("<!-- end of results -->")[0]
    assert grid(shown) == grid(committed("results/algos/table.md"))


def test_its_pictures_and_pages_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_it_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_its_example_suite_is_planned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "mine.yaml", "--dry-run"]) == 0
    assert "18 runs" in capsys.readouterr().out


def test_its_example_algorithm_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry.names("algorithm")
    monkeypatch.setitem(registry._known, "algorithm", dict(registry._known["algorithm"]))
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "awr_of_the_readme.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("awr_of_the_readme")
    made_up = {"policy": "pooled", "sampler": "constant_sde", "prompts": "weather", "reward": "redness"}
    sizes = {"samples_per_epoch": 4, "micro_batch": 4, "epochs": 1, "evaluation": {"samples": 4}}
    train(run_config({"algorithm": "awr", **made_up, **sizes}, "test"), tmp_path / "run")
    assert rows_of(tmp_path / "run")[1]["kl_behaviour"] > 0
