"""Where a sweep's book is kept: a journal file in its results folder, or any database that Optuna speaks to."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

JOURNAL = "study.journal"
OPENINGS = 5  # of a database whose tables another process may be making


class StorageError(Exception):
    """A book that cannot be opened or read; the message is one line with the place and the remedy."""


def open_storage(url: str | None, root: Path) -> BaseStorage:
    """The storage of a sweep.

    Args:
        url: of a database ("postgresql://...", "sqlite:///..."), or None for `root`/study.journal.
    Raises:
        StorageError: where it cannot be reached, or the journal is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url is None:
        return open_journal(root / JOURNAL)
    try:
        return get_storage(open_database(url))
    except ImportError:
        raise StorageError(
            f"--storage {url}: the database's driver is not installed; PostgreSQL's comes with "
            "pip install 'ddpo-bench[postgresql]'."
        ) from None
    except (ArgumentError, ValueError):
        raise StorageError(f"--storage {url}: is not a database's URL; write dialect://user@host/name.") from None
    except SQLAlchemyError as error:
        raise StorageError(f"--storage {url}: cannot be opened: {first_line(error)}") from None


def open_database(url: str) -> RDBStorage:
    """A database with Optuna's tables; several processes may be the first at once, and only one of them makes them."""
    for _ in range(OPENINGS - 1):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except (IntegrityError, ProgrammingError):  # another process is making the same table
            time.sleep(1.0)
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


def open_journal(path: Path) -> JournalStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    end_torn_line(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, UnicodeDecodeError) as error:  # a JSON error is a ValueError
        raise StorageError(
            f"{path}: is damaged ({first_line(error)}). Delete it: the next run makes it anew from the run folders."
        ) from None


def end_torn_line(path: Path) -> None:
    """Drop a last line that a crash or a full disk cut short, before another is written behind it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
