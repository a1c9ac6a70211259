"""Rewards that ask a vision-language model, against a server that fails in every way it can."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
import vlm_server
from every_plugin import make
from torch import Tensor

from ddpo_bench.config import run_config
from ddpo_bench.preflight.startup import config_mistakes
from ddpo_bench.protocols import RewardOutput
from ddpo_bench.reward_bases import answer_cache
from ddpo_bench.reward_bases.api_key import UNQUOTED
from ddpo_bench.reward_bases.chat_client import NOT_INSTALLED, ChatClient
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.rewards.vlm_judge import VLMJudge

KEY = 'sk-s3cret/k"ey-0123'


@pytest.fixture
def judge(user_files: Path, monkeypatch: pytest.MonkeyPatch) -> VLMJudge:
    monkeypatch.setenv("VLM_KEY", KEY)
    vlm_server.server().next.clear()
    vlm_server.server().asked.clear()
    return without_waiting(make("reward", "vlm_judge", api_key_variable="VLM_KEY", concurrency=1, timeout=0.3))


def without_waiting(judge: Any) -> Any:
    judge.slept = []

    async def sleep(seconds: float) -> None:
        judge.slept.append(seconds)

    client: ChatClient = judge.client
    client.sleep = sleep
    return judge


def scores(judge: VLMJudge, images: Tensor) -> RewardOutput:
    return judge(images, ["a cat"] * len(images), [{}] * len(images))


PASSING = {
    "overloaded": lambda handler: handler.reply(503, "overloaded"),
    "limited": lambda handler: handler.reply(429, "slow down", Retry_After="20"),
    "cut": lambda handler: handler.connection.close(),
    "rubbish": lambda handler: handler.reply(200, "{nothing"),
    "shape": lambda handler: handler.reply(200, {"choices": []}),
    "list": lambda handler: handler.reply(200, [1]),
}


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_asked_again(kind: str, judge: VLMJudge, images: Tensor) -> None:
    vlm_server.server().next[:] = [PASSING[kind]] * 2
    output = scores(judge, images[:1])
    assert output.scores[0] == pytest.approx(images[0].mean().item(), abs=0.01)
    assert output.info["failure"] == [""]
    assert len(vlm_server.server().asked) == 3
    assert (max(judge.slept) >= 20) == (kind == "limited")


def test_a_refusal_is_a_nan_that_is_named_and_not_asked_again(judge: VLMJudge, images: Tensor) -> None:
    vlm_server.server().next[:] = [lambda handler: handler.reply(401, "no credit")]
    output = scores(judge, images[:2])
    assert math.isnan(output.scores[0])
    assert output.info["failure"] == ["HTTP 401: no credit", ""]


def content(answer: dict[str, Any]) -> dict[str, Any]:
    return vlm_server.chat({"message": {"content": json.dumps(answer)}})


ESCAPED = "".join(f"\\u{ord(one):04x}" for one in KEY)
ECHOES = {
    "refused": lambda handler: handler.reply(400, f"wrong key {handler.headers['Authorization']}"),
    "masked": lambda handler: handler.reply(400, f"wrong key {KEY[:9]}***"),
    "json": lambda handler: handler.reply(400, json.dumps({"error": json.dumps({"message": KEY})})),
    "escaped": lambda handler: handler.reply(400, f'{{"error": "{ESCAPED}"}}'),
    "url": lambda handler: handler.reply(400, f"no page {quote(KEY, safe='')}"),
    "not a completion": lambda handler: handler.reply(200, {"choices": [KEY]}),
    "invalid": lambda handler: handler.reply(200, content({"answer": [KEY]})),
    "answer": lambda handler: handler.reply(200, content({"answer": KEY})),
}


@pytest.mark.parametrize("kind", ECHOES)
def test_a_key_that_the_endpoint_repeats_is_told_and_kept_nowhere(
    kind: str, judge: VLMJudge, images: Tensor, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vlm_server.server().next[:] = [ECHOES[kind]]
    reward = without_waiting(make("reward", "vqa_strict", api_key_variable="VLM_KEY", attempts=1))
    output = score(reward, images[:1], ["a cat"], [{"questions": ["What?"], "answers": ["a cat"]}])
    assert math.isnan(output.scores[0])
    assert UNQUOTED in output.info["failure"][0]
    assert vlm_server.server().headers[-1]["Authorization"] == f"Bearer {KEY}"
    told = (
        repr(reward)
        + repr(output)
        + capfd.readouterr().err
        + (tmp_path / "answers.sqlite").read_bytes().decode("latin-1")
    )
    assert not any(KEY[at : at + 8] in told.replace("\\", "") for at in range(len(KEY) - 7))
    assert ESCAPED[:24] not in told


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_an_endpoint_that_stalls_leaves_the_image_without_a_score(part: bytes, judge: VLMJudge, images: Tensor) -> None:
    done = threading.Event()

    def stall(handler: vlm_server.Handler) -> None:
        handler.wfile.write(part)
        done.wait(30)

    vlm_server.server().next[:] = [stall]
    output = scores(make("reward", "vlm_judge", timeout=0.05, attempts=1), images[:1])
    done.set()
    assert math.isnan(output.scores[0])
    assert output.info["failure"] == ["no response within 0.05 s"]


def test_a_cache_that_cannot_be_written_is_one_line_before_anything_is_asked(
    judge: VLMJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_cache, "cache_file", lambda: tmp_path / "prompts.txt" / "answers.sqlite")
    with pytest.raises(RewardError, match=r"^/\S+/answers.sqlite cannot keep the answers of models: .* XDG_CACHE_HOME"):
        judge.start(torch.device("cpu"))
    monkeypatch.setattr(answer_cache, "cache_file", lambda: tmp_path / "prompts.txt")
    with pytest.raises(RewardError, match="file is not a database"):
        judge.start(torch.device("cpu"))


def test_a_package_that_is_not_installed_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (mistake,) = make("reward", "vlm_judge").mistakes()
    assert mistake == f"reward: vlm_judge vlm {NOT_INSTALLED}."


def test_a_key_in_place_of_its_variable_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="must be the name of a variable") as refused:
        make("reward", "vlm_judge", api_key_variable=KEY)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(("value", "why"), [("", "is not set"), ("schlüssel", "holds characters that no API key has")])
def test_a_key_that_is_missing_or_cannot_be_sent_is_told_before_the_start(
    value: str, why: str, judge: VLMJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_KEY", value)
    reward = {"name": "vlm_judge", "model": "owner/vlm", "api_key_variable": "VLM_KEY"}
    (mistake,) = config_mistakes(run_config({"prompts": "weather", "reward": reward}, "test"))
    assert mistake.startswith(f"reward.api_key_variable: the environment variable VLM_KEY {why}")
    with pytest.raises(RewardError, match=why):
        judge.start(torch.device("cpu"))


def test_answers_are_kept_for_another_process(judge: VLMJudge, images: Tensor) -> None:
    first = scores(judge, images)
    assert len(vlm_server.server().asked) == 4
    again = scores(make("reward", "vlm_judge"), images)
    assert len(vlm_server.server().asked) == 4
    assert again.scores.tolist() == first.scores.tolist()
    assert again.info == first.info
    assert first.info["prompt_tokens"] == [100] * 4


@pytest.mark.parametrize("score", ["7", None, True, 11, -1])
def test_a_score_that_is_no_number_in_the_range_has_no_score(score: Any, judge: VLMJudge, images: Tensor) -> None:
    lie = content({"score": score})
    vlm_server.server().next[:] = [lambda handler: handler.reply(200, lie)] * 6
    output = scores(without_waiting(make("reward", "vlm_judge", answer="score")), images[:1])
    assert math.isnan(output.scores[0])
    assert output.info["failure"][0].startswith("the score must be a number from 0 to 10")


def test_strict_satisfaction_is_the_share_or_all_of_the_expected_answers(judge: VLMJudge, images: Tensor) -> None:
    facts = [{"questions": ["Is it bright?", "What colour?"], "answers": ["yes", "red"]}]
    assert make("reward", "vqa_strict")(images[:1], ["a cat"], facts).scores.tolist() == [0.5]
    assert make("reward", "vqa_strict", score="all")(images[:1], ["a cat"], facts).scores.tolist() == [0]
