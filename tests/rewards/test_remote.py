"""A reward server and its client: the same bits, one line for what is wrong, and patience with what passes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
import reward_servers
import torch
import vlm_server
from every_plugin import make
from safetensors.torch import save
from torch import Tensor

from ddpo_bench.config import RunConfig, run_config
from ddpo_bench.parsing import ConfigError
from ddpo_bench.preflight.startup import config_mistakes
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE, bytes_of, request_of
from ddpo_bench.reward_server.server import token_of
from ddpo_bench.reward_server.settings import load_settings
from ddpo_bench.rewards.remote import Remote
from ddpo_bench.training.run_identity import DifferentConfig, refuse_other_run, write_identity
from ddpo_bench.yaml_file import apply_overrides

PROMPTS, FACTS = ["a frog", "two cats", "a cat and a frog", "rain"], [{"n": n} for n in range(4)]


def remote(name: str, **options: Any) -> Remote:
    made: Remote = make("reward", "remote", reward=name, **options)
    made.start(torch.device("cpu"))
    return made


def config_of(*overrides: str) -> RunConfig:
    base = {"reward": {"name": "remote", "reward": "red", "url": reward_servers.url()}}
    return run_config(apply_overrides(base, list(overrides)), "test")


@pytest.mark.parametrize(("served", "local", "options"), [
    ("red", "target_colour", {"colour": "red"}), ("size", "jpeg_compressibility", {}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_scores_are_those_of_here_bit_for_bit(
    served: str, local: str, options: dict[str, Any], dtype: torch.dtype, images: Tensor
) -> None:
    rounded = images.to(dtype)
    expected = score(make("reward", local, **options), rounded, PROMPTS, FACTS).scores
    assert torch.equal(score(remote(served), rounded, PROMPTS, FACTS).scores, expected)


def test_png_files_have_the_scores_of_images_of_8_bits(images: Tensor) -> None:
    expected = make("reward", "target_colour", colour="red")((images * 255).round() / 255, PROMPTS, FACTS).scores
    torch.testing.assert_close(remote("red", images="png")(images, PROMPTS, FACTS).scores, expected)


def test_measurements_come_back_too(images: Tensor, verifier: Any) -> None:
    reward_servers.scoring().rewards["scenes"].start(torch.device("cpu"))
    prompts = ["a frog", "two cats", "a cat and a frog", "three frogs on a blue dotted background"]
    here = make("reward", "scene_alignment")
    here.start(torch.device("cpu"))
    assert score(remote("scenes"), images, prompts, FACTS).info == score(here, images, prompts, FACTS).info
    with pytest.raises(RewardError, match=r"^reward remote reward=scenes: \S+ answers HTTP 422: reward scene"):
        score(remote("scenes"), images, ["rain"] * 4, FACTS)


@pytest.mark.parametrize(("overrides", "line"), [
    (["reward.reward=rde"], "reward.reward: http://127.0.0.1:{}: unknown reward 'rde'. Did you mean 'red'?"),
    (["reward.fingerprint=abc"], "reward.fingerprint: http://127.0.0.1:{} has red with the fingerprint "),
    (["reward.url=http://127.0.0.1:9"], "reward.url: no reward server answers at http://127.0.0.1:9 (Connect"),
    (["reward.token_variable=NOT_THERE"], "reward.token_variable: the environment variable NOT_THERE is not set."),
    (["reward.token_variable=WRONG"], "reward.token_variable: http://127.0.0.1:{} refuses the token in the"),
])  # fmt: skip
def test_what_the_server_refuses_is_one_line_before_a_run(
    overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "another-token-0123456789")
    assert config_mistakes(config_of()) == []
    (mistake,) = config_mistakes(config_of(*overrides))
    assert mistake.startswith(line.format(reward_servers.url().rpartition(":")[2]))
    part = {"reward": {"name": "combined", "parts": [{"reward": config_of(*overrides).to_dict()["reward"]}]}}
    (mistake,) = config_mistakes(run_config(part, "test"))
    assert mistake.startswith(f"reward.parts[0].{line.partition(':')[0]}")


def test_a_server_that_is_busy_is_asked_again_and_not_for_longer_than_the_patience(images: Tensor) -> None:
    scoring, reward = reward_servers.scoring(), remote("red")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        scoring.waiting = 0

    reward.client.sleep = sleep
    scoring.waiting = scoring.settings.most_waiting
    assert torch.equal(score(reward, images, PROMPTS, FACTS).scores, remote("red")(images, PROMPTS, FACTS).scores)
    assert len(slept) == 1
    assert slept[0] >= 1  # as the server asks
    with pytest.raises(RewardError, match="has given no answer for 0 s: ConnectError"):
        remote("red", url="http://127.0.0.1:9", patience=0)


def test_another_reward_under_the_name_stops_the_run(images: Tensor) -> None:
    reward = remote("red")
    reward.load_state_dict(reward.state_dict())
    with pytest.raises(RewardError, match=r"has another red \(fingerprint \w+\) than the run began with \(abc\)"):
        reward.load_state_dict({"fingerprint": "abc"})
    reward.served = "abc"
    with pytest.raises(RewardError, match="HTTP 409: red has the fingerprint"):
        score(reward, images, PROMPTS, FACTS)


def post(body: bytes, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {reward_servers.TOKEN}"} | headers
    return httpx.post(f"{reward_servers.url()}/rewards/red/scores", content=body, headers=sent)


ONE = bytes_of({"prompts": ["a"], "metadata": [{}]})
HOSTILE = {
    "nothing": b"",
    "a pickle": pickle.dumps({"images": [1]}),
    "a long header": (2**62).to_bytes(8, "little") + b"{}",
    "no json": save({"images": torch.rand(1, 3, 8, 8)}),
    "integers": save({"images": torch.ones(1, 3, 8, 8, dtype=torch.int32), "json": ONE}),
    "no picture": save({"png.0": bytes_of("a"), "json": ONE}),
    "too few prompts": request_of(torch.rand(2, 3, 8, 8), ["a"], [{}], png=False),
    "too many images": request_of(torch.rand(5, 3, 8, 8), ["a"] * 5, [{}] * 5, png=True),
    "infinite pixels": request_of(torch.full((1, 3, 8, 8), torch.inf), ["a"], [{}], png=False),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_request_that_is_none_is_refused_in_one_line(kind: str) -> None:
    response = post(HOSTILE[kind])
    assert response.status_code == 422
    assert len(response.json()["detail"].splitlines()) == 1


def test_a_request_that_is_too_large_or_of_a_stranger_is_refused() -> None:
    assert post(b"0" * 1_000_001).status_code == 413
    assert post(b"", Authorization="Bearer x").status_code == 401
    for page, status in (("/healthz", 200), ("/rewards", 401), ("/metrics", 401), ("/docs", 401)):
        assert httpx.get(reward_servers.url() + page).status_code == status


def test_metrics_count_images(images: Tensor) -> None:
    def counted() -> float:
        (value,) = [
            metric.value
            for family in reward_servers.scoring().images.collect()
            for metric in family.samples
            if metric.name == "ddpo_bench_reward_images_total" and metric.labels == {"reward": "red"}
        ]
        return float(value)

    score(remote("red"), images, PROMPTS, FACTS)
    before = counted()
    score(remote("red"), images, PROMPTS, FACTS)
    assert counted() == before + 4
    headers = {"Authorization": f"Bearer {reward_servers.TOKEN}"}
    text = httpx.get(f"{reward_servers.url()}/metrics", headers=headers).text
    assert f'ddpo_bench_reward_images_total{{reward="red"}} {counted()}' in text


def test_a_run_is_known_by_the_reward_and_not_by_where_it_is_served(tmp_path: Path) -> None:
    moved = ["reward.url=http://10.0.0.9:1", "reward.token_variable=OTHER", "reward.batch_size=7", "reward.patience=1"]
    here, there, pinned = config_of(), config_of(*moved), config_of("reward.fingerprint=abc")
    assert here.identity() == there.identity() != pinned.identity()
    assert here.reward.label == there.reward.label == pinned.reward.label == "remote reward=red"
    write_identity(tmp_path, here)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    refuse_other_run(tmp_path, there)
    with pytest.raises(DifferentConfig, match="holds a run with another reward"):
        refuse_other_run(tmp_path, pinned)


@pytest.mark.parametrize(("text", "line"), [
    ("rewards: []", "rewards: is empty."),
    ("rewards: [{reward: pikscore}]", "rewards[0].reward: unknown reward 'pikscore'."),
    ("rewards: [{reward: target_colour}, {reward: target_colour}]", "rewards: two are called target_colour."),
    ("rewards: [{reward: target_colour, name: a b}]", "rewards[0]: name: must be letters"),
    ("rewards: [{reward: {name: combined, parts: [{reward: target_colour}]}}]", "rewards[0]: reward: combined depends"),
    ("rewards: [{reward: {name: vlm_judge, model: m, api_key_variable: NOT_THERE}}]",
     "rewards[0].reward.api_key_variable: the environment variable NOT_THERE is not set."),
    ("rewards: [{reward: target_colour}]\ndevice: gpu", "device: expected auto, or one such as"),
    ("rewards: [{reward: target_colour}]\nmost_images: 0", "most_images: must be at least 1"),
])  # fmt: skip
def test_a_mistake_in_the_servers_file_is_one_line_at_its_place(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "rewards.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(tmp_path / "rewards.yaml")
    assert str(refused.value).startswith(f"{tmp_path}/rewards.yaml: {line}")


def test_the_token_is_of_the_file_or_the_environment_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    first, made = token_of(None)
    assert made
    assert first != token_of(None)[0]
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    (tmp_path / "token").write_text("of-the-file-0123456789\n")
    assert token_of(None) == ("of-the-environment", False)
    assert token_of(tmp_path / "token") == ("of-the-file-0123456789", False)
    (tmp_path / "token").write_text("short")
    with pytest.raises(ConfigError, match="a token has at least 16") as refused:
        token_of(tmp_path / "token")
    assert "short" not in json.dumps(str(refused.value))


def test_another_server_at_the_address_is_told() -> None:
    (mistake,) = config_mistakes(config_of(f"reward.url={vlm_server.url()}"))
    assert mistake.startswith(f"reward.url: {vlm_server.url()} answers HTTP 501:")


def test_a_run_without_a_token_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = make("reward", "remote", reward="red", **reward_servers.options_of("remote"))
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(RewardError, match=f"{TOKEN_VARIABLE}.* is not set"):
        reward.start(torch.device("cpu"))
