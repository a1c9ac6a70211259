"""Answers of a model by what was asked, in a file that outlives runs and that several processes share."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ddpo_bench.reward_bases.checking import RewardError

SECONDS = 60  # to wait for another process that writes


def cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ddpo-bench", "answers.sqlite")


def key_of(request: dict[str, Any]) -> str:
    """SHA-256 of a request: the model, the image, the question and how it is to be answered."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def known(keys: list[str]) -> dict[str, Any]:
    """The answers that are there, by key."""
    with opened() as table:
        rows = (table.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone() for key in keys)
        return {key: json.loads(row[0]) for key, row in zip(keys, rows, strict=True) if row}


def keep(key: str, answer: Any) -> Any:
    """Keep an answer, and give the one that is kept: the first, where several processes have asked the same."""
    with opened() as table:
        table.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, json.dumps(answer)))
        return json.loads(table.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()[0])


@contextmanager
def opened() -> Iterator[sqlite3.Connection]:
    """The table, in one transaction.

    Raises:
        RewardError: where the file cannot be read and written.
    """
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=SECONDS)) as table, table:
            table.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
            yield table
    except (OSError, sqlite3.Error) as error:
        remedy = "Delete it if it is damaged, or set XDG_CACHE_HOME to a folder that can be written."
        raise RewardError(f"{path} cannot keep the answers of models: {error}. {remedy}") from error
