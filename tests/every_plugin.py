"""Makes any plugin by kind and name: those of the package, and those that files of tests/plugins make up.

conftest.py registers the made-up ones, so that every test over `registry.names` covers them too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import reward_servers
import tiny_rewards
import vlm_server
from tiny_pipelines import SCHEDULES

from ddpo_bench import registry
from ddpo_bench.parsing import choose

MADE_UP = Path(__file__).parent / "plugins"
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {  # that a plugin requires, or with which it is quick
    **{("policy", name): {"model": "owner/name"} for name in SCHEDULES},
    ("reward", "combined"): {
        "parts": [
            {"reward": "target_colour", "weight": 2.0, "normalise": "running"},
            {"reward": {"name": "target_colour", "colour": "red"}},
        ]
    },
    ("reward", "python"): {"function": "example_reward:brightness"},
    ("reward", "remote"): {"reward": "target_colour"},
    ("reward", "caption_bertscore"): {"model": "owner/vlm", "url": vlm_server.url(), "layer": 2},
    ("reward", "vlm_judge"): {"model": "owner/vlm", "url": vlm_server.url()},
    ("reward", "vqa_soft"): {"model": "owner/vlm", "url": vlm_server.url()},
    ("reward", "vqa_strict"): {"model": "owner/vlm", "url": vlm_server.url()},
    ("reward", "ocr"): {"enlarge": 32},
    ("reward", "got_ocr"): {"max_tokens": 4},
    ("prompts", "from_file"): {"path": "prompts.txt"},
    ("algorithm", "nft"): {"passes": 2},
    ("algorithm", "dgpo"): {"passes": 3},
    ("algorithm", "sac"): {"critic_updates": 5, "batch": 8},
    ("algorithm", "dpok"): {"value_updates": 2},
    ("algorithm", "trpo"): {"cg_iterations": 3},  # more of them carry rounding on
}
GROUPS = {"advantages": "group", "samples_per_prompt": 2}
WITHOUT_LOG_PROBS = {"algorithm": {"name": "nft", "passes": 2, "learning_rate": 0.01}}
EXTRAS = {("reward", "ocr"): "rapidocr"}  # the module without which a plugin's tests are skipped
METADATA: dict[str, dict[str, Any]] = {  # of every prompt, without which a reward cannot judge
    "GenEval": {"tag": "counting", "include": [{"class": "frog", "count": 2, "color": "green"}]},
    "VQASoft": {"vqa_list": [["Is it bright?", "Yes"]]},
    "VQAStrict": {"questions": ["Is it bright?"], "answers": ["yes"]},
}
NEEDS: dict[tuple[str, str], dict[str, Any]] = {  # other keys of a run, without which a plugin refuses it
    ("algorithm", "dgpo"): GROUPS,
    ("algorithm", "dpo"): GROUPS,
    ("algorithm", "grpo"): GROUPS,
    ("algorithm", "grpo_guard"): GROUPS,
    ("algorithm", "raft"): GROUPS,
    ("reward", "ocr"): {
        "prompts": {"name": "from_file", "path": "signs.txt"},
        "evaluation": {"samples": 8, "judges": ["suite"]},  # the shipped one enlarges images more, which takes long
    },
    ("reward", "vqa_soft"): {"prompts": {"name": "from_file", "path": "questions.jsonl"}},
    ("reward", "vqa_strict"): {"prompts": {"name": "from_file", "path": "questions.jsonl"}},
    ("sampler", "ode"): WITHOUT_LOG_PROBS,
    ("sampler", "dpm2"): WITHOUT_LOG_PROBS,
}


def register_made_up_plugins() -> None:
    sys.path.append(str(MADE_UP))
    for path in sorted(MADE_UP.glob("*.py")):
        importlib.import_module(path.stem)


def options_for(kind: str, name: str) -> dict[str, Any]:
    """Options that a plugin requires, or with which it is quick; a learned reward's are small models, made now."""
    if (kind, name) in EXTRAS:
        pytest.importorskip(EXTRAS[kind, name], reason=f"{name} needs an extra: pip install 'ddpo-bench[{name}]'")
    made = tiny_rewards.options_of(name) | reward_servers.options_of(name) if kind == "reward" else {}
    return OPTIONS.get((kind, name), {}) | made


def make(kind: str, name: str, **options: Any) -> Any:
    mistakes: list[str] = []
    chosen = choose(kind, {"name": name} | options_for(kind, name), kind, mistakes)
    assert not mistakes
    return registry.get(kind, name)(**chosen.options | options)


def fits(sampler: Any, scheduler_config: Mapping[str, Any]) -> bool:
    try:
        sampler.fits(scheduler_config)
    except ValueError:
        return False
    return True


def schedule_of(policy: str) -> Mapping[str, Any]:
    """Of a policy's own small model."""
    known: Mapping[str, Any] = SCHEDULES.get(policy) or make("policy", policy).stored_scheduler_config()
    return known


def sampler_for(policy: Any) -> str:
    """The first sampler that fits the noise schedule of a policy's model."""
    return next(
        name for name in registry.names("sampler") if fits(make("sampler", name), policy.stored_scheduler_config())
    )


def policy_for(sampler: Any) -> str:
    """A small policy whose noise schedule a sampler fits."""
    return next(name for name in ("pooled", "pooled_diffusion") if fits(sampler, make("policy", name).scheduler_config))


def scheduler_for(sampler: Any) -> dict[str, Any]:
    return make("policy", policy_for(sampler)).scheduler_config
