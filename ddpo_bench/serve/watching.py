"""Tells browsers of changes in run folders: one look at the files now and then for all who listen, none for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

SECONDS = 1.0  # between two looks
SHARE = 0.05  # of the time that looking may take: on a slow file system looks are rarer
SLOWEST = 30.0  # seconds between two looks at most
KEEP_ALIVE = 15.0  # seconds after which a silent stream says that it lives

Event = dict[str, Any]


class Listener:
    """What one client has not been told yet: the newest of every run alone, so that a slow one costs no memory."""

    def __init__(self) -> None:
        self.pending: dict[str, Event] = {}
        self.woken = asyncio.Event()

    def tell(self, name: str, event: Event) -> None:
        self.pending[name] = event
        self.woken.set()

    def taken(self) -> list[Event]:
        events, self.pending = list(self.pending.values()), {}
        self.woken.clear()
        return events


class Watcher:
    """Looks while somebody listens.

    Args:
        look: gives for every run a value that differs when the run has changed; called on a thread.
        describe: the event of a changed run, None where it is gone; called on a thread.
        seconds: between two looks.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[str, object]],
        describe: Callable[[str], Event | None],
        seconds: float = SECONDS,
    ):
        self.look, self.describe, self.seconds = look, describe, seconds
        self.listeners: set[Listener] = set()
        self.task: asyncio.Task[None] | None = None
        self.began = asyncio.Event()

    async def events(self, keep_alive: float = KEEP_ALIVE) -> AsyncGenerator[Event | None, None]:
        """The changes from now on; None first, when nothing can be missed any more, and then as a sign of life."""
        listener = Listener()
        self.listeners.add(listener)
        if self.task is None or self.task.done():
            self.began = asyncio.Event()
            self.task = asyncio.create_task(self.watch(self.began))
        try:
            await self.began.wait()
            yield None
            while True:
                try:
                    await asyncio.wait_for(listener.woken.wait(), keep_alive)
                except TimeoutError:
                    yield None
                for event in listener.taken():
                    yield event
        finally:
            self.listeners.discard(listener)
            if not self.listeners and self.task is not None:
                self.task.cancel()
                self.task = None

    async def watch(self, began: asyncio.Event) -> None:
        seen: Mapping[str, object] = {}
        while True:
            start = time.monotonic()
            try:
                found = await asyncio.to_thread(self.look)
            except OSError:  # a folder went away under our eyes
                found = seen
            if began.is_set():
                for name in [name for name, value in found.items() if seen.get(name) != value]:
                    if event := await asyncio.to_thread(self.describe, name):
                        for listener in self.listeners:
                            listener.tell(name, event)
            seen = found
            began.set()
            took = time.monotonic() - start
            await asyncio.sleep(min(SLOWEST, max(self.seconds, took / SHARE)))
