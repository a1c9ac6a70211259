"""`ddpo-bench list` and docs/options.md say what can be set, from the fields themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddpo_bench import cli
from ddpo_bench.commands.options_page import REGENERATE, page
from ddpo_bench.config import RunConfig
from ddpo_bench.describe import purpose
from ddpo_bench.options import options_of
from ddpo_bench.registry import FOLDERS, get, names

PAGE = Path(__file__).parent.parent / "docs" / "options.md"


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["list", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", FOLDERS)
def test_any_name_lists_its_options_with_default_bounds_and_help(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in names(kind):
        lines = listed(capsys, name).splitlines()
        assert lines[0].startswith(f"{kind} {name}: ")
        assert len(lines) > 1


def test_nested_options_and_units_are_listed_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(listed(capsys, "stable_diffusion").split())
    assert "adapter.name full or lora, default full what is trained: every weight, or LoRA" in text
    assert "adapter.rank whole number, default 4, 1 to 4,096 rank of the LoRA matrices" in text
    assert "steps whole number, default 10, 1 to 1,000 steps number of denoising steps" in " ".join(
        listed(capsys, "ddim").split()
    )
    assert "function text, required module:function, where" in " ".join(listed(capsys, "python").split())


def test_the_page_of_options_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"docs/options.md is out of date. Run: {REGENERATE}"
    assert listed(capsys, "--markdown") == page()


def test_the_page_documents_every_key_of_a_run() -> None:
    text = page()

    def keys(data: dict[str, object], prefix: str = "") -> list[str]:
        return [
            inner
            for key, value in data.items()
            for inner in (keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key])
        ]

    plugins = {"policy", "sampler", "prompts", "reward", "algorithm", "advantages"}
    for key in keys(RunConfig().to_dict()):
        first, _, rest = key.partition(".")
        assert f"| `{rest if first in plugins else key}` |" in text or rest == "name"


def test_a_reward_that_loads_a_model_is_listed_with_its_licence_and_size() -> None:
    loading = {name: get("reward", name) for name in names("reward") if "model" in options_of(get("reward", name))}
    for name, reward in loading.items():
        if "url" not in options_of(reward):  # of an endpoint, whose model it is
            assert re.search(r"; (MIT|Apache-2\.0)( and (MIT|Apache-2\.0))*, [\d.]+ (GB|MB)\.$", purpose(reward)), name
