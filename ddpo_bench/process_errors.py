"""Errors of a run on several processes: what stops one of them stops all, in the words of the first."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ddpo_bench.processes import count, everyones, rank

TOLD = "ddpo_bench/error"  # where a failing process leaves its error for those that will miss it
GONE = re.compile(
    r"connection (closed|reset|refused|was likely closed)|broken pipe|socket closed|remote process|remote error"
    r"|aborted|timed out|timeout",
    re.IGNORECASE,
)


class ProcessLost(Exception):
    """Another process of the run has ended before its time; the run can be resumed."""


@contextmanager
def one_error_for_all() -> Iterator[None]:
    """What any process raises in this block, all of them raise at its end, in the words of the first.

    For code that sends nothing and that not every process goes through alike: a reward on a share, a file.
    """
    if count() == 1:
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as own:
        if is_loss(own):
            raise
        error = own
    errors = everyones(packed(error) if error else None)
    first = next((number for number, one in enumerate(errors) if one), None)
    if error and first == rank():
        raise error
    if first is not None:
        raise unpacked(errors[first] or b"")


@contextmanager
def errors_told() -> Iterator[None]:
    """Let every process end with the error of the one that failed, not with that of having missed it.

    Around all that a run does: what only one process meets, wherever that is, is left where the others find it once
    they cannot reach that process any more.

    Raises:
        ProcessLost: where a process is gone that told nothing.
    """
    if count() == 1:
        yield
        return
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not is_loss(error):
            tell(error)
            raise
        raise what_was_told() or ProcessLost(f"another of the run's {count()} processes is gone") from error


def is_loss(error: BaseException) -> bool:
    """Whether an error says that another process cannot be reached any more."""
    import torch

    if isinstance(error, ProcessLost):
        return True
    sent = isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    return sent and bool(GONE.search(str(error)))


def tell(error: BaseException) -> None:
    with suppress(RuntimeError):  # the store is gone with the process that held it
        if not store().check([TOLD]):  # the first one counts: others follow from it
            store().set(TOLD, packed(error))


def what_was_told() -> BaseException | None:
    with suppress(RuntimeError):
        return unpacked(store().get(TOLD)) if store().check([TOLD]) else None
    return None


def store() -> Any:
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def packed(error: BaseException) -> bytes:
    """An exception for another process; one that cannot be sent keeps its type's name and its message."""
    try:
        packed = pickle.dumps((type(error), error.args, error.__dict__))
        unpacked(packed)
        return packed
    except Exception:  # whatever a class of the user's raises as it is pickled
        return pickle.dumps((type(error).__name__, (str(error),), {"__notes__": getattr(error, "__notes__", [])}))


def unpacked(packed: bytes) -> BaseException:
    """The exception, made without its constructor, whose arguments need not be the message."""
    kind, arguments, attributes = pickle.loads(packed)
    if isinstance(kind, str):
        kind = type(kind, (Exception,), {})
    error: BaseException = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error
