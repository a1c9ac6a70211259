"""Whether a folder's networks can be made of their configurations, and whether the stored weights are theirs.

They are made on torch's meta device, which computes and allocates nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ddpo_bench.architectures.build import make
from ddpo_bench.policies.pipeline_folder import Layout
from ddpo_bench.policies.stored_weights import part_shapes, read_json


def architecture_mistakes(folder: Path, layout: Layout, variant: str | None = None) -> list[str]:
    """What is wrong with the networks of a folder that is otherwise sound; imports diffusers and transformers."""
    made = {}
    for part in layout.networks:
        path, kind = folder / part / "config.json", layout.parts[part][0]
        try:
            with torch.device("meta"):
                made[part] = make(kind, read_json(path))
        except Exception as error:  # the constructors check little and raise anything
            reason = (str(error).strip() or "no message").splitlines()[0]
            return [f"{path}: no {kind} can be made of it: {type(error).__name__}: {reason.rstrip('.')}."]
    trained = layout.trained
    expected = {name: list(weight.shape) for name, weight in made[trained].state_dict().items()}
    stored = part_shapes(folder, trained, variant)
    wrong = [name for name, shape in expected.items() if stored.get(name) != shape]
    if not wrong:
        return []
    first = f"{wrong[0]} is {stored.get(wrong[0], 'missing')}, not {expected[wrong[0]]}"
    return [
        f"{folder}/{trained}: {len(wrong)} of {len(expected)} weights do not fit config.json: {first}. Save it again."
    ]
