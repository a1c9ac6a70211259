"""A plugin that computes other numbers has another version, so that old results are not taken for its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from plugin_versions import LIST, ROOT, Made, as_listed, files_of, mistakes, plugins, stale

from ddpo_bench.algorithms.ppo import PPO
from ddpo_bench.registry import get

MADE = Made(PPO, 1, {"algorithms/ppo.py": "a", "algorithm_bases/trajectory.py": "b"})
LISTED = {"algorithm ppo": as_listed(MADE) or {}}
CHANGED = replace(MADE, files={**MADE.files, "algorithm_bases/trajectory.py": "c"})


def test_no_plugin_was_changed_under_the_same_version() -> None:
    now, listed = plugins(), json.loads(LIST.read_text())
    assert not mistakes(now, listed), "\n".join(mistakes(now, listed))
    assert not stale(now, listed), f"Run python tests/plugin_versions.py: {', '.join(stale(now, listed))}"


def test_a_change_without_a_version_names_the_file_and_what_to_do() -> None:
    (line,) = mistakes({"algorithm ppo": CHANGED}, LISTED)
    assert line.startswith("algorithm ppo: algorithm_bases/trajectory.py changed, but its version is still 1.")
    assert "write `version: ClassVar[int] = 2` in class PPO" in line
    assert line.endswith("python tests/plugin_versions.py --same-numbers ppo.")


def test_a_raised_version_a_new_plugin_and_a_declared_one_may_be_listed() -> None:
    assert mistakes({"algorithm ppo": replace(CHANGED, version=2)}, LISTED) == []
    assert mistakes({"algorithm new": CHANGED}, LISTED) == []
    assert mistakes({"algorithm ppo": CHANGED}, LISTED, {"ppo"}) == []
    assert stale({"algorithm ppo": CHANGED}, LISTED) == ["algorithm ppo"]


def test_a_plugin_is_its_file_the_modules_of_its_room_and_their_data() -> None:
    def names(kind: str, name: str) -> set[str]:
        return {path.relative_to(ROOT).as_posix() for path in files_of(get(kind, name))}

    assert {"algorithms/ppo.py", "algorithm_bases/trajectory.py"} <= names("algorithm", "ppo")
    assert {"prompts/imagenet.py", "prompts/words/imagenet.txt"} <= names("prompts", "imagenet_animals")
    assert {"embedded/verifier.py", "embedded/model/verifier/verifier.safetensors"} <= names(
        "reward", "scene_alignment"
    )
    assert not any(Path(name).parts[0] == "samplers" for name in names("algorithm", "ppo"))
