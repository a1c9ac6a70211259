"""What a policy sees of a prompt that is longer than its text encoder's input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pipelines import qwen_tokenizer

from ddpo_bench.embedded.tokenizer import MAX_LENGTH, build_tokenizer
from ddpo_bench.policies.prompt_length import counter, longest_input, seen_prompt
from ddpo_bench.policies.stable_diffusion import StableDiffusion

FULL = "red " * (MAX_LENGTH - 2)  # and two tokens for start and end


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> StableDiffusion:
    policy = StableDiffusion(model=str(tiny_model), guidance_scale=2.0, precision="fp32")
    policy.start(torch.device("cpu"), seed=0)
    return policy


def test_a_short_prompt_is_seen_as_it_is() -> None:
    assert seen_prompt(build_tokenizer(), "A  Dog, and 2 cats") == ("A  Dog, and 2 cats", 0)


@pytest.mark.parametrize("prompt", ["a dog", FULL, FULL + "dog", FULL + "cat on blue", "red Dog, " * 9])
def test_what_is_seen_is_the_same_to_the_text_encoder(policy: StableDiffusion, prompt: str) -> None:
    seen = policy.seen(prompt)
    whole, read = (policy.encode([text]).tensors["embeddings"] for text in (prompt, seen.text))
    assert torch.equal(whole, read)
    assert seen.tokens_cut == max(0, len(build_tokenizer()(prompt).input_ids) - MAX_LENGTH)


def test_prompts_that_are_one_to_the_text_encoder_are_seen_as_one(policy: StableDiffusion) -> None:
    alike = [FULL, FULL.upper(), FULL + "dog", FULL + "cat on blue"]
    assert len({policy.seen(prompt).text for prompt in alike}) == 1
    assert [policy.seen(prompt).tokens_cut for prompt in alike] == [0, 0, 1, 3]
    assert policy.seen("blue " + FULL).text != policy.seen(FULL).text


def test_a_word_may_be_cut_in_the_middle() -> None:
    seen = seen_prompt(build_tokenizer(), "unknown " * 9)
    assert seen.text == "unknown unknown unknow"
    assert seen.tokens_cut > 0


def test_a_tokenizer_without_an_end_token_gives_a_prompt_every_token_that_fits(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer(tmp_path / "tokenizer")
    assert seen_prompt(tokenizer, "a dog", 5) == ("a dog", 0)
    assert seen_prompt(tokenizer, "a dogfish", 5) == ("a dog", 4)
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    assert counter(tmp_path / "tokenizer")("a dogfish") == 9


def test_tokens_are_counted_without_the_model_as_with_it(tiny_model: Path) -> None:
    tokenizer = tiny_model / "tokenizer"
    assert longest_input(tokenizer) == MAX_LENGTH
    assert counter(tokenizer)(FULL + "dog") == len(build_tokenizer()(FULL + "dog").input_ids) == MAX_LENGTH + 1
