"""One look for all who listen, none for nobody, and a slow listener costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ddpo_bench.serve.routes.events import lines
from ddpo_bench.serve.watching import Event, Watcher


class Runs:
    """Run folders that can be changed, and counts how often somebody looks."""

    def __init__(self) -> None:
        self.epochs, self.looks, self.described = {"a": 0, "b": 0}, 0, 0

    def look(self) -> dict[str, object]:
        self.looks += 1
        return dict(self.epochs)

    def describe(self, name: str) -> Event | None:
        self.described += 1
        return {"run": name, "epoch": self.epochs[name]}

    def watcher(self) -> Watcher:
        return Watcher(self.look, self.describe, seconds=0.001)


def within(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_change_reaches_every_listener_and_is_read_once() -> None:
    async def test() -> None:
        runs = Runs()
        watcher = runs.watcher()
        listeners = [watcher.events() for _ in range(20)]
        assert [await anext(each) for each in listeners] == [None] * 20
        runs.epochs["b"] = 1
        assert [await anext(each) for each in listeners] == [{"run": "b", "epoch": 1}] * 20
        assert runs.described == 1
        for each in listeners:
            await each.aclose()

    within(test)


def test_nobody_looks_when_nobody_listens() -> None:
    async def test() -> None:
        runs = Runs()
        watcher = runs.watcher()
        first, second = watcher.events(), watcher.events()
        assert runs.looks == 0
        await anext(first)
        await anext(second)
        await first.aclose()
        assert watcher.task
        await second.aclose()
        assert watcher.task is None
        assert not watcher.listeners
        again = watcher.events()
        await anext(again)
        runs.epochs["a"] = 5
        assert await anext(again) == {"run": "a", "epoch": 5}
        await again.aclose()

    within(test)


def test_a_slow_listener_holds_the_newest_of_every_run_alone() -> None:
    async def test() -> None:
        runs = Runs()
        watcher = runs.watcher()
        slow, quick = watcher.events(), watcher.events()
        await anext(slow)
        await anext(quick)
        for epoch in range(1, 30):
            runs.epochs["a"] = epoch
            assert await anext(quick) == {"run": "a", "epoch": epoch}
        assert [len(listener.pending) for listener in watcher.listeners if listener.pending] == [1]
        assert await anext(slow) == {"run": "a", "epoch": 29}
        await slow.aclose()
        await quick.aclose()

    within(test)


def test_a_silent_stream_says_that_it_lives() -> None:
    async def test() -> None:
        listening = Runs().watcher().events(keep_alive=0.001)
        assert [await anext(listening) for _ in range(3)] == [None] * 3
        await listening.aclose()

    within(test)


def test_a_stream_that_ends_stops_listening() -> None:
    async def test() -> None:
        runs = Runs()
        watcher = runs.watcher()
        stream = lines(watcher)
        assert await anext(stream) == "event: ready\ndata: {}\n\n"
        runs.epochs["a"] = 1
        assert await anext(stream) == 'data: {"run": "a", "epoch": 1}\n\n'
        await stream.aclose()
        assert watcher.task is None
        assert not watcher.listeners

    within(test)
