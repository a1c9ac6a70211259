"""The rounds of the blind vote in an SQLite file: which two models drew, what the judges said, and what was chosen.

A round is written before its pictures are drawn and holds one vote at most.  Every operation is a transaction of its
own on a connection of its own, so that threads, several servers and a kill at any time leave the file whole.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ddpo_bench.run_folder.places import is_results
from ddpo_bench.serve.ratings import Choice

FILE = "votes.sqlite"
SCHEMA = 1  # PRAGMA user_version
WAIT_SECONDS = 20.0  # for another writer
TABLE = """
CREATE TABLE rounds (
    id TEXT PRIMARY KEY, made TEXT NOT NULL, family TEXT NOT NULL, prompt TEXT NOT NULL, seed INTEGER NOT NULL,
    left_entry TEXT NOT NULL, left_model TEXT NOT NULL, right_entry TEXT NOT NULL, right_model TEXT NOT NULL,
    scores TEXT, choice TEXT CHECK (choice IN ('left', 'right', 'tie')), voted TEXT
) STRICT
"""
Scores = dict[str, dict[str, float | None]]  # "left" and "right", by judge


class VotesError(Exception):
    """A file of votes that cannot be used, or a vote that cannot be given; the message is one line."""


class Picked(NamedTuple):
    """What a round is about to draw: entries are what is rated, models what draws for them."""

    prompt: str
    seed: int
    left_entry: str
    left_model: str
    right_entry: str
    right_model: str


@dataclass(frozen=True)
class Round:
    """One round, voted on or not.

    Attributes:
        made, voted: UTC, ISO 8601.
        left_entry, right_entry: what is rated: the pretrained model, a cell over its seeds, or a LoRA folder.
        left_model, right_model: the id of the model that drew.
        scores: of both pictures; empty before they are drawn.
    """

    id: str
    made: str
    family: str
    prompt: str
    seed: int
    left_entry: str
    left_model: str
    right_entry: str
    right_model: str
    scores: Scores
    choice: Choice | None
    voted: str | None


def votes_file(folders: Sequence[Path]) -> Path:
    """Where votes are kept unless a file is named: next to the suites of the first results folder, and in none of them.

    Args:
        folders: as they were given: folders of suites, results folders, run folders or LoRA folders.
    """
    first = folders[0] if folders else Path("results")
    runs = next((parent for parent in first.resolve().parents if parent.name == "runs"), None)
    if runs is not None:
        return runs.parent.parent / FILE
    return (first.resolve().parent if is_results(first) or (first / "table.csv").is_file() else first) / FILE


class Votes:
    """The rounds in a file; it is made by the first round, and reading makes nothing."""

    def __init__(self, path: Path):
        self.path = path

    def open_round(self, family: str, pick: Callable[[list[Round]], Picked], name: str) -> Round:
        """Enter a round.

        Args:
            pick: of all rounds of the family so far, what to draw; called within the transaction, so that two clients
                at once are not given the same.
            name: its id, which nobody can guess.
        Raises:
            VotesError: where the file cannot be written.
        """
        with self.writing() as file:
            picked = pick([found for found in all_rounds(file) if found.family == family])
            made = now()
            file.execute(
                "INSERT INTO rounds (id, made, family, prompt, seed, left_entry, left_model, right_entry, right_model)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, made, family, *picked),
            )
        return Round(name, made, family, *picked, scores={}, choice=None, voted=None)

    def drawn(self, name: str, scores: Scores) -> None:
        """The pictures of a round are there, and what the judges say of them."""
        with self.writing() as file:
            file.execute("UPDATE rounds SET scores = ? WHERE id = ?", (json.dumps(scores), name))

    def drop(self, name: str) -> None:
        """Forget a round whose pictures could not be drawn."""
        with self.writing() as file:
            file.execute("DELETE FROM rounds WHERE id = ? AND choice IS NULL", (name,))

    def vote(self, name: str, choice: Choice) -> Round:
        """Give the vote of a round, and have back what its models were.

        Raises:
            KeyError: where there is no such round with pictures.
            VotesError: where it has a vote already.
        """
        if not self.path.is_file():
            raise KeyError(name)
        with self.writing() as file:
            changed = file.execute(
                "UPDATE rounds SET choice = ?, voted = ? WHERE id = ? AND choice IS NULL AND scores IS NOT NULL",
                (choice, now(), name),
            ).rowcount
            found = [round_of(row) for row in file.execute("SELECT * FROM rounds WHERE id = ?", (name,))]
        if not found or not (changed or found[0].choice):
            raise KeyError(name)
        if not changed:
            raise VotesError("this round has its vote already. Ask for another round.")
        return found[0]

    def voted(self) -> list[Round]:
        """All rounds with a vote, the oldest first; none where there is no file.

        Raises:
            VotesError: where the file is not one of votes.
        """
        if not self.path.is_file():
            return []
        with self.connected("ro") as file:
            return [found for found in all_rounds(file) if found.choice] if schema_of(file) else []

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is the only one that writes."""
        with self.connected("rwc") as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("BEGIN IMMEDIATE")
            try:
                self.create(file)
                yield file
            except BaseException:
                file.execute("ROLLBACK")
                raise
            file.execute("COMMIT")

    @contextmanager
    def connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            address = f"{self.path.absolute().as_uri()}?mode={mode}"
            with closing(sqlite3.connect(address, WAIT_SECONDS, uri=True, isolation_level=None)) as file:
                file.row_factory = sqlite3.Row
                if (found := schema_of(file)) > SCHEMA:
                    raise VotesError(
                        f"{self.path}: holds votes in format {found}, and this version knows {SCHEMA}. "
                        "Update ddpo-bench, or name another file with --votes."
                    )
                yield file
        except sqlite3.Error as error:
            raise VotesError(
                f"{self.path}: votes cannot be kept there ({error}). Name another file with --votes."
            ) from None

    def create(self, file: sqlite3.Connection) -> None:
        if not schema_of(file):
            file.execute(TABLE)
            file.execute(f"PRAGMA user_version = {SCHEMA}")


def schema_of(file: sqlite3.Connection) -> int:
    """The version of the format; 0 of a file that is new."""
    return int(file.execute("PRAGMA user_version").fetchone()[0])


def all_rounds(file: sqlite3.Connection) -> list[Round]:
    return [round_of(row) for row in file.execute("SELECT * FROM rounds ORDER BY rowid")]


def round_of(row: sqlite3.Row) -> Round:
    values: dict[str, Any] = dict(row)
    return Round(**values | {"scores": json.loads(values["scores"] or "{}")})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
