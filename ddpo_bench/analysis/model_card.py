"""The README.md of an exported run: a model card as the Hugging Face hub reads it, with its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpo_bench.analysis.plots.curves import learning_curves
from ddpo_bench.analysis.plots.image_grid import before_after, illustrated
from ddpo_bench.analysis.records import RunRecord
from ddpo_bench.files import plain_yaml, write_text
from ddpo_bench.run_folder.places import EXPORTED

CURVE, PICTURES = "reward.png", "before-after.png"
SHOWN = ("policy", "sampler", "prompts", "reward", "algorithm", "advantages")


@dataclass(frozen=True)
class Base:
    """The model that was fine-tuned.

    Attributes:
        pipeline: its class in diffusers.
        model: as `policy.model` names it.
        on_hub: whether that is a name on the hub.
        licence: what its card says of it, by the hub's keys; empty where that is not known.
    """

    pipeline: str
    model: str
    on_hub: bool
    licence: dict[str, str]


def write_card(record: RunRecord, base: Base, epoch: int, folder: Path) -> None:
    """Write README.md, the pictures it shows and the configuration to train the same again.

    Args:
        epoch: after which the weights were saved.
        folder: that holds them.
    """
    write_text(folder / EXPORTED, plain_yaml(record.config))
    if record.epochs:
        learning_curves([record], folder / CURVE)
    if len(record.evaluated) > 1 and illustrated([record]):
        before_after([record], folder / PICTURES)
    parts = (head(record, base), *text(record, base, epoch, folder))
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")


def head(record: RunRecord, base: Base) -> str:
    """The metadata that the hub reads."""
    is_lora = adapter_of(record).get("name") == "lora"
    facts: dict[str, Any] = dict(base.licence)
    if base.on_hub:
        facts |= {"base_model": base.model, "base_model_relation": "adapter" if is_lora else "finetune"}
    tags = ["ddpo-bench", "reinforcement-learning", record.algorithm, *(["lora"] if is_lora else [])]
    facts |= {"library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": tags}
    return f"---\n{plain_yaml(facts)}---"


def text(record: RunRecord, base: Base, epoch: int, folder: Path) -> Iterator[str]:
    yield f"# {base.model} fine-tuned by {record.algorithm} on {record.reward}"
    yield (
        f"After {epoch} of {record.config.get('epochs')} epochs of reinforcement learning with ddpo-bench: "
        f"{record.algorithm} on the reward `{record.reward}`, seed {record.seed}."
    )
    if (folder / PICTURES).exists():
        yield f"![The same prompts and noise before and after training]({PICTURES})"
    yield f"## Use\n\n```python\n{usage(record, base, folder)}\n```"
    yield "## Results\n\n" + "\n".join(results(record))
    if (folder / CURVE).exists():
        yield f"![Reward of the training samples]({CURVE})"
    yield "## Training\n\n" + "\n".join(training(record, base))
    yield f"The same again, with the whole configuration in `{EXPORTED}`:\n\n```\nddpo-bench train {EXPORTED}\n```"
    known = base.licence.get("license_name", base.licence.get("license"))
    yield f"## Licence\n\n{f'That of the base model: {known}.' if known else 'That of the base model; see its page.'}"


def usage(record: RunRecord, base: Base, folder: Path) -> str:
    """How diffusers loads the folder."""
    variant = next((path.name.split(".")[-2] for path in folder.glob("*/diffusion_pytorch_model.*.safetensors")), None)
    named = f', variant="{variant}"' if variant and "-of-" not in variant else ""
    loads_lora = adapter_of(record).get("name") == "lora"
    model = repr(base.model) if loads_lora else '"THIS_FOLDER"'
    lines = [
        f"from diffusers import {base.pipeline}",
        "",
        f"pipeline = {base.pipeline}.from_pretrained({model}{named})",
        *(['pipeline.load_lora_weights("THIS_FOLDER")'] if loads_lora else []),
    ]
    return "\n".join(lines)


def results(record: RunRecord) -> Iterator[str]:
    """A table of the first and the last evaluation, by every reward that judged them, and the KL."""
    if not record.evaluated:
        yield "This run was not evaluated."
        return
    yield f"On {record.evaluation_prompts.replace('_', '-')} prompts, before and after training:"
    yield "\n| | before | after |\n|---|--:|--:|"
    first, last = record.evaluated[0], record.evaluated[-1]
    for key in first:
        if key.startswith("eval/") and key.count("/") == 1 and not key.startswith(("eval/kl", "eval/seconds")):
            trained_on = " (trained on)" if key == f"eval/{record.reward}" else ""
            yield f"| {key.removeprefix('eval/')}{trained_on} | {number(first[key])} | {number(last.get(key))} |"
    kl = record.held_out("kl_reference_nats")
    if not math.isnan(kl):
        yield f"| KL to the pretrained model (nats) | 0 | {number(kl)} |"


def training(record: RunRecord, base: Base) -> Iterator[str]:
    """What was trained, how, and on what."""
    known, config = record.provenance, record.config
    commit = (known.get("model") or {}).get("commit")
    yield f"* base model: {base.model}{f', revision {commit}' if commit else ''}"
    for key in SHOWN:
        yield f"* {key}: `{inline(config.get(key, {}))}`"
    yield f"* {config.get('epochs')} epochs of {config.get('samples_per_epoch')} images; seed {record.seed}"
    machine = f"{known.get('processor')}, {known.get('precision')}, torch {known.get('torch')}"
    yield f"* {record.seconds / 60:.0f} minutes on {known.get('processes', 1)} x {machine}"
    yield f"* ddpo-bench {known.get('ddpo_bench')}, commit {known.get('git_commit')}"


def adapter_of(record: RunRecord) -> dict[str, Any]:
    return dict(record.config.get("policy", {}).get("adapter") or {})


def inline(value: Any) -> str:
    """A configuration in one line, without the keys that are null."""
    if isinstance(value, dict):
        shown = [f"{key}: {inline(item)}" for key, item in value.items() if item is not None]
        return f"{{{', '.join(shown)}}}"
    return f"[{', '.join(map(inline, value))}]" if isinstance(value, list) else str(value)


def number(value: Any) -> str:
    return "–" if value is None else f"{float(value):.4g}"
