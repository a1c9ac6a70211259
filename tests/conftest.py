"""Random tiny pipelines, as diffusers saves them, so that nothing depends on the embedded models."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tiny_pipelines
from every_plugin import register_made_up_plugins

from ddpo_bench.reward_bases import answer_cache

register_made_up_plugins()  # before any test module asks which there are
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, in child processes too, which tests hang up on
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell has it ignored in the background


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a list of prompts and a module with a reward function of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "example_reward", raising=False)
    (tmp_path / "example_reward.py").write_text("def brightness(i, p, m): return i.double().mean(dim=(1, 2, 3))\n")
    (tmp_path / "prompts.txt").write_text("a castle at night\na red bicycle\nthe sea\nrain\n")
    (tmp_path / "signs.txt").write_text("\n".join(f'a sign with "A{n}"' for n in range(64)))
    monkeypatch.setattr(answer_cache, "cache_file", lambda: tmp_path / "answers.sqlite")
    question = '"questions": ["Is it bright?"], "answers": ["yes"]'
    prompts = (f'{{"prompt": "{n} castles", {question}}}' for n in range(64))
    (tmp_path / "questions.jsonl").write_text("\n".join(prompts))
    return tmp_path


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of random tiny pipelines by the name of their policy, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda family: tiny_pipelines.build(family, folder / family))


@pytest.fixture(scope="session")
def tiny_model(tiny_pipeline: Callable[[str], Path]) -> Path:
    return tiny_pipeline("stable_diffusion")
