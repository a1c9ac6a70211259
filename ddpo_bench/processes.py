"""The processes that share the work of one run."""


class ProcessLost(Exception):
    """Another process of the run has ended before its time; the run can be resumed."""
