"""The tokenizer of the embedded model."""

from __future__ import annotations

from ddpo_bench.embedded.tokenizer import MAX_LENGTH, build_tokenizer, caption_words


def test_every_caption_word_is_one_token() -> None:
    tokenizer = build_tokenizer()
    assert all(len(tokenizer.tokenize(word)) == 1 for word in caption_words())


def test_unknown_words_fall_apart_but_lose_no_character() -> None:
    tokenizer = build_tokenizer()
    pieces = tokenizer.tokenize("washing quixotic dishes 7 é")
    assert "".join(pieces).replace("</w>", " ").split()[:2] == ["washing", "quixotic"]
    assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids(pieces[:-1])


def test_the_longest_caption_fits() -> None:
    tokens = build_tokenizer()("a watermelon and a strawberry on an orange checkered background").input_ids
    assert len(tokens) < MAX_LENGTH
