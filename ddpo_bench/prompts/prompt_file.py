"""Files of prompts: plain text, or .csv, .tsv and .jsonl with metadata for each prompt."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from ddpo_bench.prompts.words import LINE_END, file_text, file_words
from ddpo_bench.protocols import Metadata

# Names of the column or key with the prompt, in any case, the first that is there; all others are metadata.
NAMES = ("prompt", "prompts", "caption", "text")  # PartiPrompts and GenEval, DrawBench, Pick-a-Pic and COCO
FORMATS = "a text file with one prompt per line, or a .csv, .tsv or .jsonl file"
Entry = tuple[str, Metadata]


def read_prompts(option: str, path: str) -> tuple[Entry, ...]:
    """The prompts of a file with their metadata, in the order of the file.

    Args:
        option: the option that names the file, with which errors begin.
        path: path relative to the current directory.  Its suffix tells the format: .csv and .tsv are tables with a
            header, .jsonl and .ndjson hold one object per line; anything else is text with one prompt per line.  A
            prompt that is listed twice is there twice.
    Raises:
        ValueError: where the file cannot be read, has no prompt column, or has an invalid line.
    """
    if Path(path).suffix.lower() not in READERS:
        return plain_entries(file_words(option, path, wanted=FORMATS))
    try:
        entries = entries_of(Path(path).suffix.lower(), file_text(option, path))
    except Unreadable as error:
        raise ValueError(f"{option}: {path!r}{error}") from None
    if not entries:
        raise ValueError(f"{option}: {path!r} holds no prompts.")
    return entries


@lru_cache(maxsize=8)
def plain_entries(lines: tuple[str, ...]) -> tuple[Entry, ...]:
    return tuple((line, {}) for line in lines)


@lru_cache(maxsize=8)
def entries_of(suffix: str, text: str) -> tuple[Entry, ...]:
    """The rows of a file, cached because many cells of a suite may read the same one."""
    return tuple(READERS[suffix](text))


class Unreadable(Exception):
    """A mistake in a file, as the rest of a sentence that begins with the file's name."""


def read_table(text: str, delimiter: str) -> Iterator[Entry]:
    """The rows of a table, quoted as by spreadsheets; values in other columns remain text."""
    literal = delimiter == "\t" and not is_quoted(text)
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL,
    )
    try:
        header = [name.strip() for name in next(rows, [])]
        column = prompt_column(header)
        for row in rows:
            where = f", line {rows.line_num}:"
            if not any(value.strip() for value in row):
                continue
            if len(row) != len(header):
                hint = f" Quote values that hold {'tabs' if delimiter == chr(9) else 'commas'}."
                raise Unreadable(f"{where} has {len(row)} values for {len(header)} columns.{hint}")
            facts = {
                name: value for index, (name, value) in enumerate(zip(header, row, strict=True)) if index != column
            }
            yield one_line(row[column], where), facts
    except csv.Error as error:
        raise Unreadable(f", line {rows.line_num}: cannot be read as a table: {error}.") from None


def is_quoted(text: str) -> bool:
    """Whether quotes in a .tsv file quote values; in PartiPrompts a prompt begins with a word in quotes."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True


def prompt_column(header: list[str]) -> int:
    """The index of the column of prompts."""
    folded = [name.lower() for name in header]
    name = prompt_name(folded)
    if name is None:
        wanted, found = " or ".join(map(repr, NAMES)), ", ".join(map(repr, header)) or "none"
        raise Unreadable(f" has no column {wanted} in its first line, but {found}.")
    if twice := sorted({name for name in header if folded.count(name.lower()) > 1}):
        raise Unreadable(f" has the column {twice[0]!r} twice.")
    return folded.index(name)


def prompt_name(known: Iterable[str]) -> str | None:
    """The one of these names that holds prompts; None where none does."""
    known = list(known)
    return next((name for wanted in NAMES for name in known if name.lower() == wanted), None)


def read_objects(text: str) -> Iterator[Entry]:
    """The objects of a file with one JSON object per line; other keys are metadata, with their values unchanged."""
    for number, line in enumerate(LINE_END.split(text), start=1):
        where = f", line {number}:"
        if not line.strip():
            continue
        try:
            facts = json.loads(line)
        except ValueError as error:
            raise Unreadable(f"{where} not valid JSON: {error}.") from None
        name = prompt_name(facts) if isinstance(facts, dict) else None
        if name is None or not isinstance(facts[name], str):
            raise Unreadable(f'{where} write an object with its text under "prompt", {{"prompt": "a dog"}}.')
        yield one_line(facts.pop(name), where), facts


def one_line(prompt: str, where: str) -> str:
    """A prompt without the line breaks that quoting allows."""
    prompt = " ".join(part.strip() for part in LINE_END.split(prompt)).strip()
    if not prompt:
        raise Unreadable(f"{where} the prompt is empty.")
    if not prompt.isprintable() and any("\ud800" <= character <= "\udfff" for character in prompt):
        raise Unreadable(f"{where} the prompt holds half a character (a lone surrogate).")
    return prompt


READERS: dict[str, Callable[[str], Iterator[Entry]]] = {
    ".csv": lambda text: read_table(text, ","),
    ".tsv": lambda text: read_table(text, "\t"),
    ".jsonl": read_objects,
    ".ndjson": read_objects,
}
