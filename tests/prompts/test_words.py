"""Users' prompt files: what is kept of them, and what is said where they cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddpo_bench.prompts.words import file_words
from ddpo_bench.registry import get


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lines_are_stripped_and_blank_ones_skipped_but_hashes_kept(here: Path) -> None:
    (here / "p.txt").write_bytes("\ufeff  a café \r\n\r\n\t\n# not a comment\nlast".encode())
    assert file_words("path", "p.txt") == ("a café", "# not a comment", "last")


def test_lines_end_where_an_editor_ends_them(here: Path) -> None:
    (here / "p.txt").write_bytes("one\x0cpage\r\ntwo\u2028lines\rthree\x85\x1ethings\nfour\x0bmore".encode())
    assert file_words("path", "p.txt") == ("one\x0cpage", "two\u2028lines", "three\x85\x1ethings", "four\x0bmore")


@pytest.mark.parametrize("option", ["nouns", "activities"])
@pytest.mark.parametrize(
    ("name", "content"), [("n.csv", "noun\nowl\n"), ("n.jsonl", "{}"), ("n.txt", '{"noun": "owl"}')]
)
def test_a_list_of_words_is_no_table(here: Path, option: str, name: str, content: str) -> None:
    (here / name).write_text(content)
    with pytest.raises(
        ValueError, match=rf"^{option}: '{name}' is structured; give a text file with one entry per line\."
    ):
        get("prompts", "nouns_activities")(**{option: name})


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("prompts.txt", None, "path: no such file 'prompts.txt'"),
        ("nowhere/p.txt", None, "path: no such file 'nowhere/p.txt'"),
        ("empty.txt", b"", "path: 'empty.txt' holds no entries"),
        ("blank.txt", b" \n\n\t\n", "path: 'blank.txt' holds no entries"),
        ("image.txt", b"\xff\xd8\xff\xe0", "path: 'image.txt' is not UTF-8 text"),
        (".", None, "path: '.' cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    here: Path, path: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (here / path).write_bytes(content)
    with pytest.raises(ValueError, match=r"^path: ") as error:
        get("prompts", "from_file")(path=path)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_file_may_be_named_from_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    (here / "home" / "p.txt").write_text("a dog\n")
    prompts = get("prompts", "from_file")(path="~/p.txt")
    assert prompts(np.random.default_rng(0)) == ("a dog", {})
    assert list(prompts.inputs()["path"]) == ["p.txt"]


def test_a_misspelt_file_is_answered_with_the_nearest(here: Path) -> None:
    (here / "prompts.txt").write_text("a dog\n")
    with pytest.raises(ValueError, match=r"Did you mean 'prompts\.txt'\?$"):
        get("prompts", "from_file")(path="promts.txt")
