"""Configuration: strict, with all mistakes at once; typed; an identity that tells computations apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from every_plugin import NEEDS, OPTIONS

from ddpo_bench.config import ConfigError, RunConfig, run_config
from ddpo_bench.files import write_yaml
from ddpo_bench.quantity import Quantity
from ddpo_bench.registry import FOLDERS, get, names
from ddpo_bench.yaml_file import apply_overrides, load_yaml


def mistakes(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        run_config(data, "file.yaml")
    return raised.value.mistakes


def from_text(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return run_config(load_yaml(path), str(path))


def test_an_empty_file_of_keys_is_a_whole_configuration() -> None:
    config = run_config({}, "defaults")
    assert config == RunConfig()
    assert (config.algorithm.name, config.policy.name, config.sampler.name) == ("ppo", "stable_diffusion", "ddim")


def test_a_plugin_may_be_named_alone_or_with_its_options(tmp_path: Path) -> None:
    config = from_text(tmp_path, "algorithm: {name: ppo, clip_range: 2 nats}\nreward: jpeg_incompressibility\n")
    assert config.algorithm.build().clip_range == Quantity(2.0, "nats")
    assert config.reward.name == "jpeg_incompressibility"


@pytest.mark.parametrize("kind", FOLDERS)
def test_options_without_a_name_are_those_of_the_default_plugin(kind: str) -> None:
    assert run_config({kind: {}}, "test") == RunConfig()
    assert run_config({"sampler": {"steps": 5}}, "test").sampler.options["steps"] == 5


def test_all_mistakes_are_told_at_once_each_in_a_line_with_its_place() -> None:
    found = mistakes(
        {
            "algoritm": "ppo",
            "algorithm": {"name": "pppo"},
            "sampler": {"name": "ddim", "step": 5},
            "epochs": "many",
            "evaluation": {"sample": 3},
            "logger": "wandbb",
        }
    )
    assert len(found) == 6
    assert all(line.startswith("file.yaml: ") and "\n" not in line for line in found)
    text = "\n".join(found)
    for expected in (
        "algoritm: unknown key 'algoritm'. Did you mean 'algorithm'?",
        "algorithm: unknown algorithm 'pppo'. Did you mean 'ppo'? Known: ",
        "sampler.step: unknown key 'step'. Did you mean 'steps'?",
        "epochs: expected a whole number, got 'many'.",
        "evaluation.sample: unknown key 'sample'. Did you mean 'samples'?",
        "logger: unknown value 'wandbb'. Did you mean 'wandb'?",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5."),
        ({"epochs": "1e3"}, "epochs: expected a whole number, got '1e3'. Write 1000."),
        ({"epochs": 3.0}, "epochs: expected a whole number, got 3.0. Write 3."),
        ({"epochs": "inf"}, "epochs: expected a whole number, got 'inf'."),
        ({"policy": {"model": 15}}, 'policy.model: expected text, got 15. Write "15".'),
        ({"policy": {"model": ["x" * 999]}}, f"policy.model: expected text, got ['{'x' * 95}...."),
        ({"epochs": True}, "epochs: expected a whole number, got True."),
        ({"epochs": None}, "epochs: expected a whole number, got None."),
        ({"epochs": -1}, "epochs: must be at least 0 and at most 1,000,000,000, got -1."),
        ({"epochs": 10**400}, "epochs: must be at least 0 and at most 1,000,000,000, got 1000"),
        ({"seed": 2**32}, "seed: must be at least 0 and at most 4,294,967,295, got 4294967296."),
        ({"micro_batch": 0}, "micro_batch: must be at least 1 and at most 1,000,000,000, got 0."),
        ({"micro_batch": "big"}, "micro_batch: expected a whole number, got 'big'. Or write auto."),
        ({"evaluation": {"samples": 0}}, "evaluation.samples: must be at least 1 and at most 1,000,000,000, got 0."),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds: must be a finite number, got nan."),
        ({"checkpoint_seconds": "inf"}, "checkpoint_seconds: must be a finite number, got inf."),
        ({"checkpoint_seconds": 10**400}, "checkpoint_seconds: expected a number, got 1000"),
        ({"logger": False}, "logger: unknown value False."),
        ({"evaluation": 3}, "evaluation: expected a mapping of keys, got 3."),
        (
            {"algorithm": {"name": "ppo", "clip_range": "2 bits"}},
            "algorithm.clip_range: expected nats (\"1.6 nats\") or a bare number in mean units, got '2 bits'.",
        ),
        (
            {"algorithm": {"name": "ppo", "learning_rate": "small"}},
            "algorithm.learning_rate: expected a number, got 'small'.",
        ),
        (
            {"algorithm": {"name": "ppo", "learning_rate": True}},
            "algorithm.learning_rate: expected a number, got True.",
        ),
        ({"algorithm": {"name": 3}}, "algorithm: give a name, for example {name: ppo}; got {'name': 3}."),
        ({"algorithm": ["ppo"]}, "algorithm: give a name, for example {name: "),
        (
            {"algorithm": {"name": "ppo", "clip_range": 0}},
            "algorithm.clip_range: must be above 0 and at most 1,000,000,000, got 0.",
        ),
        ({"policy": {"name": "stable_diffusion", "adapter": {"nam": "lora"}}}, "policy.adapter.nam: unknown key"),
        ({"policy": {"name": "stable_diffusion", "adapter": {"name": "lorra"}}}, "policy.adapter.name: unknown value"),
        ({"algorithm": "trpo", "compile": "regional"}, "compile: trpo differentiates the network along directions"),
        (
            {"algorithm": {"name": "ppo", "updates_per_epoch": 2}},
            "algorithm.updates_per_epoch: is called minibatches now.",
        ),
        ({"algorithm": {"name": "ppo", "inner_epochs": 2}}, "algorithm.inner_epochs: is called passes now."),
        (
            {"algorithm": {"name": "sac", "updates_per_epoch": 2}},
            "algorithm.updates_per_epoch: is called actor_updates now.",
        ),
        ({"reward": {"name": "python"}}, "reward.function: is required."),
        (
            {"samples_per_epoch": 10, "samples_per_prompt": 4},
            "samples_per_epoch: must be a multiple of samples_per_prompt",
        ),
        ({"resources": {"processes": 0}}, "resources.processes: must be at least 1 and at most 1,024, got 0."),
        ({"resources": {"gpus": "two"}}, "resources.gpus: expected a whole number, got 'two'. Or write auto."),
        (
            {"resources": {"processes": 2, "gpus": 4}},
            "resources: gpus must be 0, 2 (one for each of 2 processes) or auto, got 4. "
            "For 4 GPUs, set processes to 4.",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key_and_its_value(data: dict[str, Any], line: str) -> None:
    assert mistakes(data)[0].startswith(f"file.yaml: {line}")


def test_a_plain_mistake_is_told_once_even_where_it_takes_others_with_it() -> None:
    assert len(mistakes({"algorithm": {"name": "ppo", "clip_rnge": 0.1}, "samples_per_prompt": 5})) == 1


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", ".0001", "0.0001"])
def test_a_number_is_a_number_however_yaml_reads_it(tmp_path: Path, text: str) -> None:
    config = from_text(tmp_path, f"algorithm: {{name: ppo, learning_rate: {text}}}")
    assert config.algorithm.options["learning_rate"] == 1e-4


@pytest.mark.parametrize("text", ["epochs: 3\nseed: 1\nepochs: 4\n", "evaluation: {samples: 3, samples: 4}\n"])
def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml, line \d: .*given twice"):
        from_text(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("epochs: [1\n", "not valid YAML"), ("- a\n- b\n", "must hold a mapping"), ("", "must hold a mapping")],
)
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        from_text(tmp_path, text)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml, line 1: cannot be read as text. Save the file in UTF-8."):
        load_yaml(tmp_path / "binary.yaml")


def test_overrides_reach_any_depth_and_leave_the_original_alone() -> None:
    data = {"algorithm": {"name": "ppo"}, "epochs": 2}
    changed = apply_overrides(data, ["algorithm.learning_rate=1e-4", "evaluation.samples=7", "reward=target_colour"])
    config = run_config(changed, "set")
    assert config.algorithm.options["learning_rate"] == 1e-4
    assert (config.evaluation.samples, config.reward.name, config.epochs) == (7, "target_colour", 2)
    assert data == {"algorithm": {"name": "ppo"}, "epochs": 2}


@pytest.mark.parametrize("override", ["epochs", "=3", "epochs.more=3", "epochs=[1"])
def test_an_override_that_cannot_be_applied_is_refused_in_one_line(override: str) -> None:
    with pytest.raises(ConfigError, match="--set ") as raised:
        apply_overrides({"epochs": 2}, [override])
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("algorithm", "sampler", "advantages", "policy") for name in names(kind)],
)
def test_a_configuration_goes_through_its_own_file(tmp_path: Path, kind: str, name: str) -> None:
    settings = {"reward": "target_colour", "seed": 3, "samples_per_prompt": 2, "evaluation": {"samples": 5}}
    plugin = {"name": name} | OPTIONS.get((kind, name), {})
    config = run_config({kind: plugin} | settings | NEEDS.get((kind, name), {}), "test")
    write_yaml(tmp_path / "config.yaml", config.to_dict())
    again = run_config(load_yaml(tmp_path / "config.yaml"), "config.yaml")
    assert again == config
    assert again.identity() == config.identity()


def test_every_default_is_visible_in_the_written_configuration() -> None:
    plain = RunConfig().to_dict()
    assert plain["algorithm"].keys() > {"name", "clip_range", "learning_rate", "max_grad_norm"}
    assert plain["policy"]["adapter"].items() > {"name": "full", "rank": 4, "alpha": None}.items()
    assert yaml.safe_load(yaml.safe_dump(plain)) == plain


@pytest.mark.parametrize(
    "same",
    [
        {"seed": 5},
        {"logger": "tensorboard"},
        {"checkpoints_kept": 9},
        {"checkpoint_seconds": 0},
        {"resources": {"processes": 3, "gpus": 0}},
        {"algorithm": "ppo"},
    ],
)
def test_identity_ignores_what_does_not_change_the_computation(same: dict[str, Any]) -> None:
    assert run_config(same, "test").identity() == RunConfig().identity()


@pytest.mark.parametrize(
    "other",
    [
        {"algorithm": {"name": "ppo", "clip_range": 0.3}},
        {"algorithm": "trpo_penalty"},
        {"epochs": 3},
        {"evaluation": {"samples": 3}},
        {"policy": {"name": "stable_diffusion", "adapter": {"rank": 8}}},
    ],
)
def test_identity_tells_other_computations_apart(other: dict[str, Any]) -> None:
    identity = run_config(other, "test").identity()
    assert identity != RunConfig().identity()
    assert len(identity) == 12


def test_identity_follows_the_version_that_a_plugin_declares(monkeypatch: pytest.MonkeyPatch) -> None:

    before = RunConfig().identity()
    monkeypatch.setattr(get("algorithm", "ppo"), "version", 2, raising=False)
    assert RunConfig().identity() != before


@pytest.mark.parametrize(
    ("gpus", "available", "used"), [("auto", 0, 0), ("auto", 8, 2), (0, 8, 0), (2, 8, 2), (2, 0, 2)]
)
def test_a_run_uses_no_gpu_or_one_for_each_process(gpus: int | str, available: int, used: int) -> None:
    config = run_config({"resources": {"processes": 2, "gpus": gpus}}, "test")
    assert config.resources.gpus_of(available) == used


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        RunConfig().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("advantages", "sizes", "mistake"),
    [
        (
            "group",
            {},
            "samples_per_prompt: group advantages compare the samples of a prompt and need at least 2, got 1.",
        ),
        ("batch", {"samples_per_epoch": 1}, "samples_per_epoch: batch advantages compare the samples of an epoch"),
        ("per_prompt", {"samples_per_epoch": 1}, "samples_per_epoch: with one sample an epoch every advantage is 0"),
    ],
)
def test_advantages_that_would_all_be_0_are_refused(advantages: str, sizes: dict[str, int], mistake: str) -> None:
    with pytest.raises(ConfigError) as error:
        run_config({"advantages": advantages, **sizes}, "run.yaml")
    (line,) = error.value.mistakes
    assert line.startswith(f"run.yaml: {mistake}")


@pytest.mark.parametrize(
    ("advantages", "sizes"),
    [
        ("group", {"samples_per_prompt": 2}),
        ("batch", {"samples_per_epoch": 2}),
        ("per_prompt", {"samples_per_epoch": 1, "epochs": 16}),
    ],
)
def test_advantages_that_can_differ_are_accepted(advantages: str, sizes: dict[str, int]) -> None:
    assert run_config({"advantages": advantages, **sizes}, "run.yaml").advantages.name == advantages


@pytest.mark.parametrize(
    ("reward", "label"),
    [
        ("jpeg_compressibility", "jpeg_compressibility"),
        ("target_colour", "target_colour"),
        ({"name": "target_colour", "colour": "blue"}, "target_colour"),
        ({"name": "target_colour", "colour": "red"}, "target_colour colour=red"),
    ],
)
def test_a_reward_is_named_by_what_tells_it_from_others(reward: object, label: str) -> None:
    assert run_config({"reward": reward}, "run.yaml").reward.label == label
