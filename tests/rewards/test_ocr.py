"""Rewards by OCR: the formula against another definition of the edit distance, and words that Pillow renders."""

from __future__ import annotations

import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
from every_plugin import make
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpo_bench.cli import main
from ddpo_bench.reward_bases.checking import RewardError, score
from ddpo_bench.reward_bases.written_text import compared, edit_distance, match, wanted_text
from ddpo_bench.rewards.ocr import OCR

CPU = torch.device("cpu")
WORDS = ["Hello", "STOP", "open 24"]


def picture(word: str, side: int = 64) -> Tensor:
    """[3, side, side] in [0, 1]: the word on a white sign."""
    drawn = Image.new("RGB", (side, side), (120, 180, 230))
    draw, middle = ImageDraw.Draw(drawn), (side // 2, side // 2)
    draw.rectangle((0, side // 4, side, 3 * side // 4), fill="white")
    draw.text(middle, word, fill="black", font=ImageFont.load_default(side // 4), anchor="mm")
    return torch.frombuffer(bytearray(drawn.tobytes()), dtype=torch.uint8).view(side, side, 3).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def ocr() -> OCR:
    made: OCR = make("reward", "ocr", enlarge=256)
    made.start(CPU)
    return made


def pictures_and_prompts() -> tuple[Tensor, list[str]]:
    return torch.stack([picture(word) for word in WORDS]), [f'a sign that says "{word}"' for word in WORDS]


def test_words_are_read_and_others_score_by_their_distance(ocr: OCR) -> None:
    images, prompts = pictures_and_prompts()
    output = score(ocr, images, prompts, [{}] * 3)
    assert output.scores.tolist() == [1, 1, 1]
    assert [compared(text) for text in output.info["read"]] == ["hello", "stop", "open24"]
    asked = ['a sign that says "hellos!"', 'a sign that says "xyz"', 'a sign that says "other"']
    metadata = [{}, {}, {"text": "Open 25"}]  # the text of metadata goes before the prompt's
    assert score(ocr, images, asked, metadata).scores.tolist() == pytest.approx([5 / 7, 0, 5 / 6])


def test_scores_do_not_depend_on_the_batch_or_on_the_number_of_threads(ocr: OCR) -> None:
    images, prompts = pictures_and_prompts()
    other, threads = make("reward", "ocr", enlarge=256), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        other.start(CPU)
    finally:
        torch.set_num_threads(threads)
    asked = [prompt.replace("l", "x") for prompt in prompts]
    together = ocr(images, asked, [{}] * 3).scores.tolist()
    assert together == other(images, asked, [{}] * 3).scores.tolist()
    assert together == [ocr(images[n : n + 1], asked[n : n + 1], [{}]).scores.item() for n in range(3)]


def test_got_ocr_reads_what_transformers_own_way_reads() -> None:
    """As the model's page has it, one image at a time; the ends of texts differ in a batch."""
    from transformers import GotOcr2ForConditionalGeneration, GotOcr2Processor

    reward = make("reward", "got_ocr", max_tokens=12, batch_size=2)
    reward.start(CPU)
    images = torch.randint(0, 256, (3, 3, 40, 24), generator=torch.Generator().manual_seed(0)) / 255
    model = GotOcr2ForConditionalGeneration.from_pretrained(reward.model)
    processor = GotOcr2Processor.from_pretrained(reward.model)
    expected = []
    for image in images:
        picture = Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        inputs = processor(picture, return_tensors="pt", num_image_tokens=4)
        inputs.pop("token_type_ids", None)  # of this tokenizer, in transformers 4
        written = model.generate(
            **inputs, do_sample=False, tokenizer=processor.tokenizer, stop_strings="<|im_end|>", max_new_tokens=12
        )
        expected.append(processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    assert reward.read(images) == expected
    assert len(set(expected)) > 1
    output = score(reward, images, ['a sign with "AB"'] * 3, [{}] * 3)
    assert output.info["read"] == expected


def test_the_edit_distance_is_the_least_cost_of_all_ways() -> None:
    """Against its recursive definition, of all texts of up to four letters of two kinds."""

    @cache
    def distance(first: str, second: str) -> int:
        if not first or not second:
            return len(first) + len(second)
        changed = distance(first[1:], second[1:]) + (first[0] != second[0])
        return min(changed, distance(first[1:], second) + 1, distance(first, second[1:]) + 1)

    texts = ["".join(letters) for length in range(5) for letters in product("ab", repeat=length)]
    assert all(edit_distance(first, second) == distance(first, second) for first in texts for second in texts)


def test_what_flow_grpo_counts_as_a_match() -> None:
    assert match("new  YORK", "newyork") == 1
    assert match("a long text that shares nothing", "xyz") == 0  # never below
    assert match("", "xyz") == 0
    assert match("BUY Hello now", "hello") == 0
    assert match("BUY Hello now", "hello", substring=True) == 1


@pytest.mark.parametrize(
    ("prompt", "metadata", "wanted"),
    [
        ('a sign "No Entry" and "Exit"', {}, "noentry"),  # the first, as in Flow-GRPO
        ("a sign “Ja” there", {}, "ja"),
        ("a 'single' quote", {}, ""),
        ('an empty "" quote', {}, ""),
        ('a sign "A"', {"text": "B C"}, "bc"),
        ("a sign", {"text": "B"}, "b"),
    ],
)
def test_the_text_that_a_prompt_quotes(prompt: str, metadata: dict[str, str], wanted: str) -> None:
    assert wanted_text(prompt, metadata) == wanted


def test_a_prompt_without_quotes_is_one_line(ocr: OCR) -> None:
    with pytest.raises(RewardError, match="reward ocr enlarge=256: 'a frog' says no text in double quotes"):
        ocr(torch.rand(1, 3, 24, 24), ["a frog"], [{}])


def test_validate_tells_of_a_prompt_without_quotes_or_of_the_missing_extra(
    user_files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(f'a sign with "A{n}"' for n in range(20)) + "\na frog\n"
    Path("mixed.txt").write_text(lines)
    Path("run.yaml").write_text(
        "policy: pooled\nsampler: constant_sde\nprompts: {name: from_file, path: mixed.txt}\nreward: ocr\n"
    )
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert main(["validate", "run.yaml"]) == 1
    error = capsys.readouterr().err
    assert "reward ocr: 'a frog' says no text in double quotes" in error
    assert "reward: ocr needs the extra `ocr`, which is not installed" in error
