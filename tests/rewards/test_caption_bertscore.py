"""BERTScore against its definition, token by token in float64, and the reward that is made of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_rewards
import torch
import vlm_server
from every_plugin import make
from torch import Tensor
from transformers import AutoTokenizer, DebertaConfig, DebertaModel

from ddpo_bench.reward_bases.bert_score import BertScore
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.rewards.caption_bertscore import CaptionBertScore

CPU = torch.device("cpu")
PAIRS = [("a frog", "two cats and a dog"), ("two cats on a blue dog ", "a frog"), ("three frogs", "three frogs")]


def tokens(text: str) -> list[Tensor]:
    """Outputs of layer 2 of 3 for each token, the text alone and without padding."""
    folder = tiny_rewards.folder_of("deberta")
    model = DebertaModel(DebertaConfig.from_pretrained(folder)).double().eval()
    stored = torch.load(folder / "pytorch_model.bin")
    model.load_state_dict({name: stored[f"deberta.{name}"].double() for name in model.state_dict()})
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return [*model(ids, output_hidden_states=True).hidden_states[2][0]]


def recall(candidate: list[Tensor], reference: list[Tensor]) -> float:
    best = [max(float(torch.cosine_similarity(one, other, dim=0)) for other in candidate) for one in reference[1:-1]]
    return sum(best) / len(best)


def test_matches_are_those_of_the_definition() -> None:
    bert_score = BertScore(str(tiny_rewards.folder_of("deberta")), None, 2, CPU, batch_size=4)
    matches = bert_score([pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS])
    for row, (candidate, reference) in enumerate(PAIRS):
        given, wanted = tokens(candidate), tokens(reference)
        expected = recall(wanted, given), recall(given, wanted)  # precision is the other way round
        assert (float(matches.precision[row]), float(matches.recall[row])) == pytest.approx(expected, abs=1e-5)
        assert float(matches.f1[row]) == pytest.approx(2 / (1 / expected[0] + 1 / expected[1]), abs=1e-5)
    assert float(matches.recall[2]) == pytest.approx(1, abs=1e-6)


def test_a_layer_that_the_encoder_lacks_is_refused(user_files: Path) -> None:
    with pytest.raises(RewardError, match=r"^reward caption_bertscore vlm deberta: layer: .*deberta has 3 layers, and"):
        made(layer=4)


def made(**options: Any) -> CaptionBertScore:
    reward: CaptionBertScore = make("reward", "caption_bertscore", **options)
    reward.start(CPU)
    return reward


def test_the_score_is_the_recall_of_the_prompt_and_a_failure_is_a_named_nan(user_files: Path, images: Tensor) -> None:
    vlm_server.server().next[:] = [
        lambda handler: handler.reply(401, "no credit"),
        lambda handler: handler.reply(200, vlm_server.chat({"message": {"content": " "}})),
    ]
    output = made(concurrency=1, attempts=1)(images[:3], ["a frog", "a cat", "a dog"], [{}] * 3)
    assert output.info["failure"] == ["HTTP 401: no credit", "the caption is empty", ""]
    assert output.info["caption"] == [None, None, "Two bright frogs on a cat."]
    assert [math.isnan(score) for score in output.scores] == [True, True, False]
    expected = recall(tokens("Two bright frogs on a cat."), tokens("The image contains a dog"))
    assert float(output.scores[2]) == pytest.approx(expected, abs=1e-5)
    asked = vlm_server.server().asked[-1]["messages"][0]["content"][1]["text"]
    assert asked == "Answer concisely: what is going on in this image?"
