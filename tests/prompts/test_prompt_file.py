"""Prompt files with columns: what becomes the prompt, what its metadata, and what is refused by name and line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ddpo_bench.held_out import split
from ddpo_bench.prompts.prompt_file import read_prompts
from ddpo_bench.registry import get


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "entries"),
    [
        (
            "p.csv",
            'prompt,weight\r\n"a red cat, sitting",1.0\r\n\r\n"a blue dog ""Rex""",0.5\r\n',
            (("a red cat, sitting", {"weight": "1.0"}), ('a blue dog "Rex"', {"weight": "0.5"})),
        ),
        ("p.csv", '\ufeffPrompt\n"two\n lines"\n', (("two lines", {}),)),
        (
            "P.TSV",
            'count\tprompt\n3\tdogs, cats\n4\t"two\n lines"',
            (("dogs, cats", {"count": "3"}), ("two lines", {"count": "4"})),
        ),
        (  # as in PartiPrompts, which quotes nothing
            "p.tsv",
            'Prompt\tCategory\tNote\n"G I G" painted\tIllustrations\t\n7 dogs\tAnimals\tof "Dogs"\n',
            (
                ('"G I G" painted', {"Category": "Illustrations", "Note": ""}),
                ("7 dogs", {"Category": "Animals", "Note": 'of "Dogs"'}),
            ),
        ),
        ("p.csv", "Prompts,Category\nA red car.,Colors\n", (("A red car.", {"Category": "Colors"}),)),  # DrawBench
        ("p.csv", "caption,prompts\na,b\n", (("b", {"caption": "a"}),)),
        ("p.jsonl", '{"caption": "a castle", "label_0": 0.5}', (("a castle", {"label_0": 0.5}),)),  # Pick-a-Pic
        (  # GenEval
            "p.jsonl",
            '{"tag": "counting", "include": [{"class": "bus", "count": 2}], "prompt": "a photo of two buses"}',
            (("a photo of two buses", {"tag": "counting", "include": [{"class": "bus", "count": 2}]}),),
        ),
        ("p.txt", "\ufeffa dog\r\n\r\n  rain \r\na dog\r\n", (("a dog", {}), ("rain", {}), ("a dog", {}))),
        (
            "p.jsonl",
            '{"include": [{"class": "dog"}], "prompt": "two\u2028 {dogs}"}\n\n{"prompt": " a cat "}',
            (("two\u2028 {dogs}", {"include": [{"class": "dog"}]}), ("a cat", {})),
        ),
        ("p.txt", "a {braced} dog, and a comma\n", (("a {braced} dog, and a comma", {}),)),
    ],
)
def test_a_prompt_is_read_with_what_stands_next_to_it(here: Path, name: str, content: str, entries: object) -> None:
    (here / name).write_bytes(content.encode())
    assert read_prompts("path", name) == entries


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "p.csv",
            "a red cat\na dog\n",
            "'p.csv' has no column 'prompt' or 'prompts' or 'caption' or 'text' in its first line, but 'a red cat'.",
        ),
        (
            "p.csv",
            "",
            "'p.csv' has no column 'prompt' or 'prompts' or 'caption' or 'text' in its first line, but none.",
        ),
        ("p.csv", "prompt\n", "'p.csv' holds no prompts."),
        ("p.csv", "prompt,Prompt\na,b\n", "'p.csv' has the column 'Prompt' twice."),
        (
            "p.csv",
            "prompt,n\na cat, sitting,1\n",
            "'p.csv', line 2: has 3 values for 2 columns. Quote values that hold",
        ),
        ("p.csv", 'prompt\n"a cat', "'p.csv', line 2: cannot be read as a table: unexpected end of data."),
        ("p.tsv", "prompt\tn\n \t1\n", "'p.tsv', line 2: the prompt is empty."),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "'p.jsonl', line 2: not valid JSON: "),
        ("p.jsonl", '{"title": "a dog"}', "'p.jsonl', line 1: write an object with its text under"),
        ("p.jsonl", '"a dog"', "'p.jsonl', line 1: write an object with its text under"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "'p.jsonl', line 1: the prompt holds half a character"),
        (
            "p.json",
            '["a dog"]',
            "'p.json' is structured; give a text file with one prompt per line, or a .csv, .tsv or",
        ),
        ("p.txt", '{"prompt": "a dog"}', "'p.txt' is structured; give a text file with one prompt per line, or a"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_line(here: Path, name: str, content: str, message: str) -> None:
    (here / name).write_text(content)
    with pytest.raises(ValueError, match=r"^path: ") as error:
        get("prompts", "from_file")(path=name)
    assert str(error.value).removeprefix("path: ").startswith(message)
    assert "\n" not in str(error.value)


def test_a_prompt_that_is_listed_twice_is_drawn_twice_as_often_and_on_one_side(here: Path) -> None:
    (here / "p.csv").write_text("prompt,n\nthe sea,1\nthe sea,2\na castle,1\nrain,1\nrain,1\n")
    prompts, rng = get("prompts", "from_file")(path="p.csv"), np.random.default_rng(0)
    training, evaluation = (Counter(side(rng)[0] for _ in range(300)) for side in split(prompts, "held_out"))
    assert training.keys() == {"the sea", "a castle"}
    assert training["the sea"] == pytest.approx(200, abs=30)  # standard deviation 8
    assert evaluation.keys() == {"rain"}


def test_a_draw_gives_metadata_of_its_own(here: Path) -> None:
    (here / "p.jsonl").write_text('{"prompt": "a dog", "include": [1]}')
    prompts, rng = get("prompts", "from_file")(path="p.jsonl"), np.random.default_rng(0)
    prompts(rng)[1]["include"].append(2)
    assert prompts(rng) == ("a dog", {"include": [1]})


def test_a_second_file_holds_the_prompts_of_evaluation_and_training_leaves_them_out(here: Path) -> None:
    (here / "train.txt").write_text("a dog\nrain\na cat\n")
    (here / "test.csv").write_text("prompt,n\na cat,1\nthe sea,2\n")
    prompts = get("prompts", "from_file")(path="train.txt", held_out="test.csv")
    rng = np.random.default_rng(0)
    training, evaluation = ([side(rng) for _ in range(50)] for side in split(prompts, "held_out"))
    assert {prompt for prompt, _ in training} == {"a dog", "rain"}
    assert {(prompt, metadata["n"]) for prompt, metadata in evaluation} == {("a cat", "1"), ("the sea", "2")}
    assert {prompts(rng)[0] for _ in range(50)} == {"a dog", "rain", "a cat"}


def test_a_second_file_that_leaves_nothing_to_train_on_is_refused(here: Path) -> None:
    (here / "p.txt").write_text("a dog\n")
    with pytest.raises(
        ValueError, match=r"^held_out: 'p\.txt' holds all prompts of 'p\.txt'; none are left to train on"
    ):
        get("prompts", "from_file")(path="p.txt", held_out="p.txt")
