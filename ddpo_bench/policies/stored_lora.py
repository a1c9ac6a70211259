"""A LoRA that was trained elsewhere, or exported from a run, as it lies in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from ddpo_bench.policies.loading import import_pipeline
from ddpo_bench.policies.pipeline_folder import Layout

FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")  # of diffusers, and of peft
PEFT = "base_model.model."  # before the names that peft writes
MATRIX = re.compile(r"(?P<layer>.+)\.lora_(?P<which>[AB])(?:\.(?P<adapter>[^.]+))?\.weight$")
OTHER_METHODS = {"lokr_": "LoKr", "hada_": "LoHa", "oft_": "OFT", "dora_scale": "DoRA", "magnitude_vector": "DoRA"}
FAMILIES = (  # that a LoRA's names tell: an expression in some name, and the policy
    ("single_transformer_blocks|double_blocks", "flux"),
    (r"^transformer\.|joint_blocks", "stable_diffusion_3"),
    (r"transformer_blocks[._][2-9]|lora_te2", "sdxl"),
    ("unet", "stable_diffusion"),
)


class NotLora(ValueError):
    """A file or folder holds no LoRA that training can start from."""


@dataclass(frozen=True)
class StoredLora:
    """The matrices of a LoRA.

    Attributes:
        down, up: the matrices A [rank, ...] and B [..., rank], by the layer of the network that they update.
        alpha: updates are multiplied by alpha / rank.
        family: the policy whose LoRA it looks like; None where the names do not tell.
    """

    down: dict[str, Tensor]
    up: dict[str, Tensor]
    alpha: float
    family: str | None

    @property
    def ranks(self) -> list[int]:
        return sorted({matrix.shape[0] for matrix in self.down.values()})


def lora_file(source: str) -> Path:
    """The file that `policy.adapter.from` names: itself, or the one in a folder of diffusers, of peft or of a run.

    Raises:
        NotLora: where there is none, or several, with what to do.
    """
    folder = Path(source).expanduser()
    if (folder / "checkpoint").is_dir():
        folder /= "export"
        if not folder.is_dir():
            raise NotLora(f"is a run. Export it first: ddpo-bench export {source}")
    if folder.is_file():
        if folder.suffix != ".safetensors":
            raise NotLora("is no .safetensors file, and others are pickles, which may run code, and are never loaded.")
        return folder
    found = [folder / name for name in FILES if (folder / name).is_file()] or sorted(folder.glob("*.safetensors"))
    several = [path.parent.name for path in sorted(folder.glob("*/adapter_config.json"))]
    if len(found) > 1 or (several and not found):
        names = ", ".join(several or [path.name for path in found])
        raise NotLora(f"holds several adapters: {names}. Name one of them, or merge them first.")
    if not found:
        raise NotLora(instead_of_lora(folder))
    return found[0]


def instead_of_lora(folder: Path) -> str:
    if not folder.is_dir():
        return "is no file or folder."
    if (folder / "model_index.json").is_file():
        return "holds a whole pipeline, into which a LoRA may be merged. Give it as policy.model, and leave `from` out."
    return f"holds no LoRA: neither {' nor '.join(FILES)}."


def read_lora(source: str, layout: Layout, config: Mapping[str, Any]) -> StoredLora:
    """Read a LoRA in diffusers', peft's or, where diffusers converts them, kohya's names.

    Args:
        layout: of the pipeline that it is for.
        config: of the network that is trained.
    Raises:
        NotLora: where it is none of that network.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    path = lora_file(source)
    try:
        with safe_open(path, "pt") as file:
            told = (file.metadata() or {}).get("lora_adapter_metadata", "{}")
        tensors = load_file(path)
    except (OSError, SafetensorError):
        raise NotLora("cannot be read as safetensors. Copy it again.") from None
    refuse_other_methods(tensors)
    if (beside := path.parent / "adapter_config.json").is_file() and any(name.startswith(PEFT) for name in tensors):
        told = beside.read_text(encoding="utf-8", errors="replace")
    try:
        settings = {key.removeprefix(f"{layout.trained}."): value for key, value in json.loads(told).items()}
    except (ValueError, AttributeError):
        raise NotLora("has settings that are no JSON object: adapter_config.json, or the file's metadata.") from None
    if settings.get("use_rslora"):
        raise NotLora("scales by the square root of its rank (use_rslora), and a policy's LoRA by the rank.")
    family = next((name for marker, name in FAMILIES if any(re.search(marker, each) for each in tensors)), None)
    named, alpha = in_diffusers_names(tensors, layout, config, family)
    down, up = matrices(named, layout, family)
    alpha = settings.get("lora_alpha") or alpha or next(iter(down.values())).shape[0]
    return StoredLora(down, up, float(alpha), family)


def refuse_other_methods(names: Iterable[str]) -> None:
    """Refuse what is no LoRA, by the names of its tensors."""
    for name in names:
        for part, method in OTHER_METHODS.items():
            if part in name:
                raise NotLora(f"is {method}, and a policy trains LoRA.")
    if not any("lora" in name for name in names):
        raise NotLora("holds whole weights: a LoRA may be merged into them. Give that pipeline as policy.model.")


def in_diffusers_names(
    tensors: Mapping[str, Tensor], layout: Layout, config: Mapping[str, Any], family: str | None
) -> tuple[dict[str, Tensor], float | None]:
    """The tensors as diffusers names them, and the alpha of all layers where the file had it as tensors.

    Raises:
        NotLora: where diffusers cannot convert them for this pipeline.
    """
    from diffusers.utils import convert_unet_state_dict_to_peft

    part = layout.trained
    given = {
        f"{part}.{name.removeprefix(PEFT)}" if name.startswith(PEFT) else name: value for name, value in tensors.items()
    }
    pipeline: Any = import_pipeline(layout.pipeline)
    try:  # each pipeline ignores the arguments of the others
        made = pipeline.lora_state_dict(given, return_alphas=True, unet_config=SimpleNamespace(**config))
    except Exception as error:  # the conversions raise many types for names that they do not know
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise NotLora(f"is no LoRA for a {layout.pipeline}{looks_like(family)} ({reason})") from error
    named, alphas = made[:2] if isinstance(made, tuple) else (made, None)
    values = {float(value) for value in (alphas or {}).values()}
    if len(values) > 1:
        raise NotLora("has another alpha in some layers, and a policy's LoRA has one.")
    return convert_unet_state_dict_to_peft(named), next(iter(values), None)


def matrices(
    named: Mapping[str, Tensor], layout: Layout, family: str | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A and B by layer.

    Raises:
        NotLora: where there are others than of the trained network, or several adapters.
    """
    found: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    adapters = set()
    for name, tensor in named.items():
        if not name.startswith(f"{layout.trained}."):
            other = name.split(".")[0]
            raise NotLora(f"holds LoRA of {other}, and this policy trains its {layout.trained}{looks_like(family)}")
        if not (match := MATRIX.match(name.removeprefix(f"{layout.trained}."))):
            raise NotLora(f"holds {name}, which is no matrix of a LoRA.")
        adapters.add(match["adapter"])
        found[match["which"]][match["layer"]] = tensor
    if len(adapters) > 1:
        raise NotLora(f"holds several adapters: {', '.join(map(str, sorted(adapters, key=str)))}. Save one alone.")
    if not found["A"] or found["A"].keys() != found["B"].keys():
        raise NotLora("lacks one of the two matrices of some layers. Save it again.")
    return found["A"], found["B"]


def looks_like(family: str | None) -> str:
    return f". It looks like one for policy.name: {family}." if family else "."
