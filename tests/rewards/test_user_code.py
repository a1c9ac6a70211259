"""A user's reward decides its scores and nothing else, and what goes wrong in it is told as its own."""

from __future__ import annotations

import os
import random
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpo_bench.registry import get
from ddpo_bench.reward_bases.checking import RewardError, score

PROMPTS = ["a cat", "a dog", "a fox", "a bee"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ddpo-bench", "run", "suite.yaml"])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def write(name: str, text: str) -> None:
    Path(name).write_text(textwrap.dedent(text))


def scores_of(function: str, images: Tensor, metadata: list[dict[str, object]] | None = None) -> list[float]:
    reward = get("reward", "python")(function)
    return score(reward, images, PROMPTS, metadata or [{} for _ in PROMPTS]).scores.tolist()


def test_what_a_reward_changes_in_place_nobody_else_sees(images: Tensor) -> None:
    write(
        "rw_inplace.py",
        """
        def score(images, prompts, metadata):
            images *= 255
            images.numpy()[:] = 0
            prompts[0] = "another"
            metadata[1]["seen"] = True
            return [float(facts.get("seen", False)) for facts in metadata]
        """,
    )
    before, prompts, shared = images.clone(), list(PROMPTS), {"count": [1]}
    metadata: list[dict[str, object]] = [shared] * 4  # as samples of one prompt have it
    assert scores_of("rw_inplace:score", images, metadata) == [0, 1, 0, 0]
    assert torch.equal(images, before)
    assert prompts == PROMPTS
    assert shared == {"count": [1]}


def test_scores_are_a_copy_of_what_the_reward_may_use_again(images: Tensor) -> None:
    write("rw_buffer.py", "import torch\nkept = torch.zeros(4, dtype=torch.float64)\ndef score(i, p, m): return kept\n")
    output = score(get("reward", "python")("rw_buffer:score"), images, PROMPTS, [{}] * 4)
    sys.modules["rw_buffer"].kept += 1
    assert not output.scores.any()


CHANGES = """
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(1)
    random.seed(1)
    numpy.random.seed(1)
    os.chdir("/")
"""


def process_state() -> list[object]:
    return [
        torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype(), torch.zeros(1).device,
        torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic, torch.get_rng_state().tolist(), random.getstate(),
        str(np.random.get_state()), os.getcwd(),
    ]  # fmt: skip


@pytest.mark.parametrize("when", ["imported", "called"])
def test_what_a_module_changes_for_the_whole_process_is_put_back(images: Tensor, when: str) -> None:
    changes = textwrap.dedent(CHANGES)
    head = "import os, random, numpy, torch\n" + (changes if when == "imported" else "")
    inside = textwrap.indent(changes, "    ") if when == "called" else ""
    write(f"rw_{when}.py", f"{head}def score(i, p, m):\n{inside}    return [0.0] * len(p)\n")
    before = process_state()
    assert scores_of(f"rw_{when}:score", images) == [0] * 4
    assert process_state() == before


def test_a_module_next_to_it_can_be_imported_when_it_is_called(images: Tensor) -> None:
    write("rw_late.py", "def score(i, p, m):\n    from rw_helper import helper\n    return helper(i)\n")
    write("rw_helper.py", "def helper(images): return images.mean(dim=(1, 2, 3))\n")
    path = list(sys.path)
    torch.testing.assert_close(scores_of("rw_late:score", images), images.mean(dim=(1, 2, 3)).double().tolist())
    assert sys.path == path


def test_a_module_with_options_of_its_own_does_not_read_our_command_line(images: Tensor) -> None:
    write(
        "rw_args.py",
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--scale", type=float, default=2.0)
        scale = parser.parse_args().scale
        def score(i, p, m): return [scale] * len(p)
        """,
    )
    assert scores_of("rw_args:score", images) == [2.0] * 4
    assert sys.argv == ["ddpo-bench", "run", "suite.yaml"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os\nKEY = os.environ['NO_SUCH_KEY']\n", "KeyError: 'NO_SUCH_KEY' (rw.py, line 2, in <module>)."),
        ("def score(i, p, m) return 1\n", "SyntaxError: expected ':' (rw.py, line 1)."),
        ("import no_such\n", "ModuleNotFoundError: No module named 'no_such' (rw.py, line 1, in <module>)."),
        ("1 / 0\n", "ZeroDivisionError: division by zero (rw.py, line 1, in <module>)."),
        ("import rw_other\n", "AttributeError: partially initialized module 'rw' has no attribute 'LIMIT'"),
        ("import json\njson.loads('{')\n", "JSONDecodeError: Expecting property name"),
        ("import sys\nsys.exit(2)\n", "SystemExit: 2 (rw.py, line 2, in <module>); it must not end the program"),
        ("raise Exception('first\\nsecond')\n", "Exception: first (rw.py, line 1, in <module>)."),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_module_that_cannot_be_imported_is_named_with_the_reason(text: str, reason: str) -> None:
    write("rw.py", text)
    write("rw_other.py", "import rw\nrw.LIMIT\n")
    with pytest.raises(ValueError, match=r"^function: module 'rw' cannot be imported: ") as error:
        get("reward", "python")("rw:score")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "whose"), [("statistics", "Python's own"), ("yaml", "another module")])
def test_a_file_that_another_module_of_its_name_hides_is_named(folder: Path, name: str, whose: str) -> None:
    write(f"{name}.py", "def score(i, p, m): return [0.0] * len(p)\n")
    with pytest.raises(ValueError, match=f"^function: '{name}' is .*{whose}") as error:
        get("reward", "python")(f"{name}:score")
    assert str(error.value).endswith(f"which hides {folder / name}.py. Give yours another name.")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ConnectionError('server refused')", "ConnectionError: server refused (rw_raises.py, line 3, in inner)"),
        ("import sys; sys.exit('no key')", "SystemExit: no key (rw_raises.py, line 3, in inner); it must not end"),
        ("import json; json.loads('{')", "(rw_raises.py, line 3, in inner)"),
        ("raise OSError(28, 'No space left on device')", "OSError: [Errno 28] No space left on device (rw_raises.py"),
        ("raise KeyError", "KeyError (rw_raises.py, line 3, in inner)"),
    ],
)
def test_what_a_function_raises_is_told_as_its_own(images: Tensor, body: str, reason: str) -> None:
    write("rw_raises.py", f"def score(i, p, m): return inner()\ndef inner():\n    {body}\n")
    with pytest.raises(RewardError, match=r"^reward rw_raises:score: ") as error:
        scores_of("rw_raises:score", images)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
