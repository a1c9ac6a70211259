"""The progress of measuring: a bar with the time left on a terminal, a line for each set of inputs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ddpo_bench.microbench.measure import Advance


@contextmanager
def progress(total: int, say: Callable[[str], None]) -> Iterator[Advance]:
    """Yield the function to call before each of `total` measurements."""
    console = Console()
    if not console.is_terminal:
        yield plain(say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def advance(inputs: str, what: str) -> None:
            bar.update(task, description=escape(f"{inputs}: {what}"))
            bar.advance(task)

        yield advance


def plain(say: Callable[[str], None]) -> Advance:
    last = ""

    def advance(inputs: str, what: str) -> None:
        nonlocal last
        if inputs != last:
            say(inputs)
        last = inputs

    return advance
