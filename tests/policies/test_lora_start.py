"""A LoRA that exists is where a policy starts: in every family and naming, or one line says why not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpo_bench import cli, registry
from ddpo_bench.choices import to_plain
from ddpo_bench.options import options_of
from ddpo_bench.policies.adapters import Adapter
from ddpo_bench.policies.diffusers_policy import DiffusersPolicy

CPU, LORA = torch.device("cpu"), "pytorch_lora_weights.safetensors"
Folders = Callable[[str], Path]
FAMILIES = ("stable_diffusion", "sdxl", "stable_diffusion_3", "flux")


def made(family: str, folder: Path, **adapter: Any) -> DiffusersPolicy:
    kind = registry.get("policy", family)
    own = dataclasses.replace(options_of(kind)["adapter"].default, **{"name": "lora"} | adapter)
    options = tiny_pipelines.QUICK.get(family, {}) | {"model": str(folder), "precision": "fp32", "adapter": own}
    policy: DiffusersPolicy = kind(**options)
    return policy


def started(policy: DiffusersPolicy) -> DiffusersPolicy:
    assert policy.mistakes() == policy.architecture_mistakes() == []
    policy.start(CPU, seed=1)
    return policy


def predicted(policy: DiffusersPolicy) -> Tensor:
    x_t = torch.ones(1, *policy.latent_shape)
    return policy.predict(x_t, torch.tensor([300.0]), policy.encode(["a dog"])).detach()


@torch.no_grad()
def disturb(policy: DiffusersPolicy) -> None:
    for parameter in policy.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(tiny_pipeline: Folders, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of a LoRA that changes what a family's model predicts, with that prediction, made when asked for."""
    folders: dict[str, Path] = {}

    def export(family: str) -> Path:
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            policy = started(made(family, tiny_pipeline(family), alpha=16))
            disturb(policy)
            policy.save_trained(policy.state_dict(), folders[family])
            torch.save(predicted(policy), folders[family] / "predicted.pt")
        return folders[family]

    return export


def as_peft(folder: Path, target: Path) -> None:
    """Write a LoRA as peft's own save_pretrained does."""
    tensors = {name.partition(".")[2]: tensor for name, tensor in load_file(folder / LORA).items()}
    target.mkdir()
    save_file({f"base_model.model.{n}": t for n, t in tensors.items()}, target / "adapter_model.safetensors")
    (target / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 16, "r": 32}))


@pytest.mark.parametrize("family", FAMILIES)
def test_training_starts_from_a_lora_which_is_then_the_pretrained_policy(
    family: str, tiny_pipeline: Folders, exported: Callable[[str], Path]
) -> None:
    folder = exported(family)
    for source in (folder, folder / "kohya.safetensors"):
        if source.exists():
            policy = started(made(family, tiny_pipeline(family), from_=str(source)))
            torch.testing.assert_close(predicted(policy), torch.load(folder / "predicted.pt"), rtol=1e-5, atol=1e-6)
            assert list(policy.inputs()) == ["model", "adapter.from"]
    start = predicted(policy)
    disturb(policy)
    assert not torch.allclose(predicted(policy), start, atol=1e-3)
    with policy.copy("pretrained"):
        assert torch.equal(predicted(policy), start)


def test_pefts_own_files_and_another_alpha_mean_the_same_update(
    tiny_pipeline: Folders, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = exported("stable_diffusion_3")
    as_peft(folder, tmp_path / "peft")
    policy = started(made("stable_diffusion_3", tiny_pipeline("stable_diffusion_3"), from_=str(tmp_path / "peft")))
    torch.testing.assert_close(predicted(policy), torch.load(folder / "predicted.pt"), rtol=1e-4, atol=1e-5)


def refused(policy: DiffusersPolicy) -> str:
    (mistake,) = policy.mistakes() or policy.architecture_mistakes()
    assert "\n" not in mistake
    return mistake


@pytest.mark.parametrize(
    ("family", "other", "options", "mistake"),
    [
        ("sdxl", "flux", {}, "this policy trains its unet. It looks like one for policy.name: flux."),
        ("sdxl", "stable_diffusion", {}, "is for another model: "),
        ("flux", "stable_diffusion_3", {}, "It looks like one for policy.name: stable_diffusion_3."),
        ("sdxl", "sdxl", {"rank": 8}, "policy.adapter.rank: 8, but "),
        ("sdxl", "sdxl", {"rank": 8}, " has rank 4. Write rank: 4."),
        ("sdxl", "sdxl", {"target_modules": ("to_q", "to_k")}, "it alone updates "),
        ("sdxl", "sdxl", {"target_modules": ("attn1.to_q",)}, " Write target_modules: [attn1.to_k, "),
        ("sdxl", "sdxl", {"name": "full"}, "policy.adapter.from: starts a LoRA. Write name: lora."),
    ],
)
def test_a_lora_that_does_not_agree_is_refused_in_one_line(
    family: str, other: str, options: dict[str, Any], mistake: str,
    tiny_pipeline: Folders, exported: Callable[[str], Path],
) -> None:  # fmt: skip
    assert mistake in refused(made(family, tiny_pipeline(family), from_=str(exported(other)), **options))


def test_what_is_no_lora_or_more_than_one_is_refused_in_one_line(
    tiny_pipeline: Folders, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    model, tensors = tiny_pipeline("sdxl"), load_file(exported("sdxl") / LORA)
    stacked = {name.replace(".weight", f".{which}.weight"): t for name, t in tensors.items() for which in ("a", "b")}
    for name, content in (
        ("merged", {name.replace("lora_A.", ""): tensor for name, tensor in tensors.items() if "lora_A" in name}),
        ("stacked", stacked),
        ("dora", tensors | {"unet.conv_in.lora_magnitude_vector": torch.ones(1)}),
    ):
        save_file({key: tensor.clone() for key, tensor in content.items()}, tmp_path / f"{name}.safetensors")
    torn = tmp_path / "torn" / LORA
    torn.parent.mkdir()
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, torn, {"lora_adapter_metadata": '{"r": 4'})
    (tmp_path / "old.bin").touch()
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    for source, mistake in {
        tmp_path / "merged.safetensors": "holds whole weights: a LoRA may be merged into them.",
        tmp_path / "stacked.safetensors": "holds several adapters: a, b. Save one alone.",
        tmp_path / "dora.safetensors": "is DoRA, and a policy trains LoRA.",
        torn: "has settings that are no JSON object: ",
        tmp_path / "old.bin": "is no .safetensors file, and others are pickles",
        tmp_path / "run": f"is a run. Export it first: ddpo-bench export {tmp_path / 'run'}",
        tmp_path / "absent": "is no file or folder.",
        tmp_path: "holds several adapters: dora.safetensors, merged.safetensors, stacked.safetensors.",
        model: "holds a whole pipeline, into which a LoRA may be merged. Give it as policy.model, and leave",
    }.items():
        found = refused(made("sdxl", model, from_=str(source)))
        assert found.startswith(f"policy.adapter.from: {source} {mistake}")


def test_the_key_in_a_file_is_from(tiny_pipeline: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert to_plain(Adapter(from_="a"))["from"] == "a"
    policy = f"{{model: {tiny_pipeline('stable_diffusion')}, adapter: {{name: lora, from: {tmp_path / 'absent'}}}}}"
    (tmp_path / "run.yaml").write_text(f"algorithm: ppo\npolicy: {policy}\n")
    assert cli.main(["train", str(tmp_path / "run.yaml")]) == 1
    assert f"policy.adapter.from: {tmp_path / 'absent'} is no file or folder." in capsys.readouterr().err
