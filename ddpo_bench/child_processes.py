"""Child processes: which leave the signals of a terminal to their parent, and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ddpo_bench.signals import hang_ups_held, leave_hang_ups


@contextmanager
def starting(variables: Mapping[str, str]) -> Iterator[None]:
    """Start processes inside the block: from their first moment on, Ctrl-C and a closed terminal do not reach them.

    Args:
        variables: environment of the processes, set before they begin, since unpickling their arguments imports torch.
    """
    before, interrupts = dict(os.environ), signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(variables)
    try:
        with hang_ups_held():
            yield
    finally:
        signal.signal(signal.SIGINT, interrupts)
        os.environ.clear()
        os.environ.update(before)


def follow_parent() -> None:
    """Leave the terminal's signals to the parent, which decides, and end at once where it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group
    leave_hang_ups()
    threading.Thread(target=die_with_parent, daemon=True).start()


def die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
