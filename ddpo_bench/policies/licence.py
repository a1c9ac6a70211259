"""The licence of a base model, as its card names it."""

from __future__ import annotations

from pathlib import Path

import yaml

from ddpo_bench.policies.pipeline_folder import is_hub_name, model_path

KEYS = ("license", "license_name", "license_link")


def licence_of(model: str, revision: str | None) -> dict[str, str]:
    """What the card of a model says of its licence, by the hub's keys; empty where there is no card to read.

    Args:
        model: a folder, or a hub name, whose card may be fetched.
    """
    card = model_path(model) / "README.md"
    if not model_path(model).is_dir() and is_hub_name(model):
        from huggingface_hub import hf_hub_download

        try:
            card = Path(hf_hub_download(model, "README.md", revision=revision))
        except Exception:  # not reachable, or there is none; its HTTP library depends on the version
            return {}
    try:
        head = card.read_text(encoding="utf-8").removeprefix("---\n").split("\n---")[0]
        facts = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return {key: str(facts[key]) for key in KEYS if key in facts} if isinstance(facts, dict) else {}
