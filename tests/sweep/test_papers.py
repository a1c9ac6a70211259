"""The published recipes of suites/papers can be planned, and say how they are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddpo_bench import cli

FILES = sorted((Path(__file__).parents[2] / "suites" / "papers").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_recipe_is_planned(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # results/ is there
    assert cli.main(["run", str(path), "--dry-run"]) == 0
    assert "queued" in capsys.readouterr().out
    assert f"ddpo-bench run suites/papers/{path.name}" in path.read_text()
