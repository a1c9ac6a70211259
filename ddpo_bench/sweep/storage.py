"""Where a run queue is kept: a journal file in its results folder, or any database that Optuna speaks to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from ddpo_bench.sweep.journal import ChecksummedJournal

JOURNAL = "study.journal"
OPENINGS = 5  # of a database whose tables another process may be making


class StorageError(Exception):
    """A run queue that cannot be opened or read; the message is one line with the place and the remedy."""


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
    with named_errors(url):
        return get_storage(open_database(url))


def open_existing(url: str | None, root: Path) -> BaseStorage | None:
    """The storage of a sweep to read from; None where there is none.  Nothing is made or repaired.

    Args and Raises: as of `open_storage`.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url is None:
        path = root / JOURNAL
        return read_journal(path) if path.exists() else None
    with named_errors(url):
        return get_storage(RDBStorage(url, skip_table_creation=True)) if has_tables(make_url(url)) else None


def has_tables(url: URL) -> bool:
    """Whether a database holds Optuna's tables; SQLite would make a file that does not exist."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return False
    engine = create_engine(url)
    try:
        return inspect(engine).has_table("studies")
    finally:
        engine.dispose()


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """What goes wrong with a database, as a StorageError."""
    try:
        yield
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
    return read_journal(path)


def read_journal(path: Path) -> JournalStorage:
    try:
        return JournalStorage(ChecksummedJournal(path))
    except OSError:
        raise
    except Exception as error:  # an entry without a checksum that was damaged can raise anything as it is replayed
        raise StorageError(
            f"{path}: is damaged ({first_line(error)}). Delete it: the next run creates it again from the run folders."
        ) from None


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
