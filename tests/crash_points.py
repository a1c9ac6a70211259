"""For tests that let a worker die, or meet another, at each of its writes to a journal in turn."""

import os
import traceback
from contextlib import contextmanager

from ddpo_bench.sweep.journal import ChecksummedJournal

DIED = 7  # exit code
append_logs = ChecksummedJournal.append_logs


@contextmanager
def at_write(number, what, when="after"):
    """Do something once, before or after a write to any run queue of this process; yields what is written."""
    written = []

    def append(self, logs):
        written.append(logs)
        due = len(written) == number
        if due and when == "before":
            what()
        append_logs(self, logs)
        if due and when == "after":
            what()

    ChecksummedJournal.append_logs = append
    try:
        yield written
    finally:
        ChecksummedJournal.append_logs = append_logs


def in_a_process(work):
    """Exit code of a process that did `work`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dies_at(number, open_journal, work):
    """Whether a process that is killed at its write of this number gets so far.

    Args:
        open_journal: whose writes do not count; `work` is given what it returns.
    """

    def until_then():
        opened = open_journal()
        with at_write(number, lambda: os._exit(DIED)):
            work(opened)

    code = in_a_process(until_then)
    assert code in (0, DIED)
    return code == DIED
