"""`ddpo-bench export`: a run's weights in a folder that diffusers loads, whole or not at all, with a model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from ddpo_bench import cli
from ddpo_bench.config import RunConfig
from ddpo_bench.policies.licence import licence_of
from ddpo_bench.training.run_identity import write_identity

LORA = "pytorch_lora_weights.safetensors"
MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def run(tiny_run: MakeConfig, tmp_path: Path) -> Path:
    """A finished run's folder, with the weights of no training and an average that is twice as large."""
    config = tiny_run("policy.adapter.name=lora", "ema=0.9")
    folder = tmp_path / "results" / "my-run"
    policy = config.policy.build()
    policy.start(torch.device("cpu"), 0)
    trained = policy.state_dict()
    state = {"epoch": 3, "metrics": {}, "policy": trained, "ema": {"averages": [2 * w for w in trained.values()]}}
    for name in ("checkpoint", "samples"):
        (folder / name).mkdir(parents=True)
    torch.save(state, folder / "checkpoint" / "epoch-0003.pt")
    known = {"model": {"commit": "abc123"}, "processor": "a GPU", "reward": "jpeg_compressibility", "inputs": {}}
    write_identity(folder, config, known)
    rows: list[dict[str, Any]] = [
        {"epoch": 0, "eval/jpeg_compressibility": -2.0, "eval/kl_reference_nats": 0.0},
        *({"epoch": n, "queries": 4 * n, "reward_mean": -2.0 + n / 10} for n in (1, 2, 3)),
        {"epoch": 3, "eval/jpeg_compressibility": -1.5, "eval/kl_reference_nats": 12.5},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for epoch in (0, 3):
        Image.fromarray(np.full((16, 48, 3), 80 * epoch, np.uint8)).save(folder / "samples" / f"epoch-{epoch:04d}.png")
    index = {"columns": 8, "tile": [16, 16], "prompts": ["rain", "thunder", "smoke"]}
    (folder / "samples" / "index.json").write_text(json.dumps(index))
    return folder


def test_a_run_is_exported_with_its_average_and_a_card_that_says_how_it_was_made(
    run: Path, tiny_run: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"Saved {run / 'export'}: the weights after epoch 3")
    folder = run / "export"
    names = {"README.md", "run.yaml", "reward.png", "before-after.png", LORA, "kohya.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    saved = load_file(folder / LORA)
    trained = torch.load(run / "checkpoint" / "epoch-0003.pt")["policy"]
    for name, weight in trained.items():
        assert torch.equal(saved[f"unet.{name.replace('.default.', '.')}"], 2 * weight)
    card = (folder / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "diffusers"
    assert {"lora", "ppo"} < set(head["tags"])
    assert "base_model" not in head  # a folder is none of the hub's
    for told in (
        "| jpeg_compressibility (trained on) | -2 | -1.5 |",
        "(nats) | 0 | 12.5 |",
        "revision abc123",
        "a GPU",
    ):
        assert told in card
    assert 'pipeline.load_lora_weights("THIS_FOLDER")' in card
    assert (
        yaml.safe_load((folder / "run.yaml").read_text()) == tiny_run("policy.adapter.name=lora", "ema=0.9").to_dict()
    )


def test_only_an_earlier_export_is_replaced_and_only_where_that_is_meant(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.tex").touch()
    assert cli.main(["export", str(run), "--to", str(target), "--overwrite"]) == 1
    assert capsys.readouterr().err == f"--to {target}: exists, and is no earlier export. Choose another folder.\n"
    assert cli.main(["export", str(run)]) == 0
    assert cli.main(["export", str(run)]) == 1
    assert "holds an earlier export. Choose another folder, or add --overwrite." in capsys.readouterr().err
    (run / "export" / "old").touch()
    assert cli.main(["export", str(run), "--overwrite"]) == 0
    assert not (run / "export" / "old").exists()


def test_nothing_is_left_of_an_export_that_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.iterdir())
    (run / "samples" / "index.json").write_text("{")  # read last, for the card
    assert cli.main(["export", str(run)]) == 1
    assert "not valid JSON" in capsys.readouterr().err
    assert sorted(run.iterdir()) == before
    (run / "checkpoint" / "epoch-0003.pt").unlink()
    assert cli.main(["export", str(run), "--to", str(tmp_path / "new")]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_is_pushed_and_stays_where_the_hub_refuses_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed: list[Path] = []
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, exist_ok: f"https://hub/{name}")
    monkeypatch.setattr(
        huggingface_hub.HfApi, "upload_folder", lambda self, folder_path, **_: pushed.append(folder_path)
    )
    assert cli.main(["export", str(run), "--push", "no-owner"]) == 1
    assert "--push no-owner: is no name of a repository. Write it as owner/name." in capsys.readouterr().err
    assert cli.main(["export", str(run), "--push", "me/frogs"]) == 0
    assert pushed == [run / "export"]
    assert "Pushed to https://hub/me/frogs" in capsys.readouterr().out

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 Unauthorized\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", refuse)
    assert cli.main(["export", str(run), "--overwrite", "--push", "me/frogs"]) == 1
    assert capsys.readouterr().err.startswith("--push me/frogs: OSError: 401 Unauthorized Mend that (`hf auth login`")
    assert (run / "export" / LORA).exists()


def test_the_licence_is_what_the_base_models_card_says(tmp_path: Path) -> None:
    assert licence_of(str(tmp_path), None) == {}
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: stabilityai-ai-community\n---\n# SD 3.5\n")
    assert licence_of(str(tmp_path), None) == {"license": "other", "license_name": "stabilityai-ai-community"}
    (tmp_path / "README.md").write_text("# A model\n\n| a | b |\n|---|---|\n")
    assert licence_of(str(tmp_path), None) == {}
