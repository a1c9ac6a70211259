"""The queue: order, bound, who leaves, who is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from ddpo_bench.parsing import ConfigError
from ddpo_bench.serve.generation import Event
from ddpo_bench.serve.generation_queue import GenerationQueue, QueueFull, collect
from ddpo_bench.serve.measured import Measured

FINAL = Event("final", {})


def with_queue(draw: Any, test: Callable[[GenerationQueue], Awaitable[None]], size: int = 4) -> GenerationQueue:
    """Run a test with a queue that is answered; plans are whatever `draw` makes of them."""

    async def run() -> GenerationQueue:
        queue = GenerationQueue(draw, size, Measured())
        async with queue.answering():
            await asyncio.wait_for(test(queue), 30)
        return queue

    return asyncio.run(run())


def test_requests_are_answered_one_at_a_time_in_their_order() -> None:
    active, order = [], []

    def draw(name: str) -> Iterator[Event]:
        active.append(name)
        assert active == [name]
        order.append(name)
        yield FINAL
        active.remove(name)

    async def test(queue: GenerationQueue) -> None:
        jobs = [queue.submit(name) for name in "abcd"]  # type: ignore[arg-type]
        assert [event.kind for event in await asyncio.gather(*map(collect, jobs))] == ["final"] * 4

    with_queue(draw, test)
    assert order == list("abcd")


def test_a_full_queue_refuses_and_says_when_to_come_again_and_waiting_ones_know_their_place() -> None:
    proceed = threading.Event()

    def draw(name: str) -> Iterator[Event]:
        proceed.wait(30)
        yield FINAL

    async def test(queue: GenerationQueue) -> None:
        jobs = [queue.submit("first")]  # type: ignore[arg-type]
        while queue.current is None:
            await asyncio.sleep(0)
        jobs += [queue.submit("waiting") for _ in range(2)]  # type: ignore[arg-type]
        assert [job.pending["queued"].data["position"] for job in jobs[1:]] == [1, 2]
        with pytest.raises(QueueFull, match="2 requests wait already") as refused:
            queue.submit("one too many")  # type: ignore[arg-type]
        assert refused.value.seconds >= 1
        jobs[1].leave()
        jobs.append(queue.submit("in its place"))  # type: ignore[arg-type]
        proceed.set()
        assert (await collect(jobs[3])).kind == "final"

    queue = with_queue(draw, test, size=2)
    assert queue.measured.registry.get_sample_value("ddpo_bench_serve_refused_total") == 1


def test_a_client_that_leaves_frees_the_device_at_the_next_step() -> None:
    closed = threading.Event()

    def draw(name: str) -> Iterator[Event | None]:
        try:
            while name == "endless":
                yield None
            yield FINAL
        finally:
            closed.set()

    async def test(queue: GenerationQueue) -> None:
        endless = queue.submit("endless")  # type: ignore[arg-type]
        following = queue.submit("following")  # type: ignore[arg-type]
        waiting = asyncio.create_task(collect(endless))
        while queue.current is not endless:
            await asyncio.sleep(0)
        waiting.cancel()
        assert (await collect(following)).kind == "final"
        assert closed.is_set()

    with_queue(draw, test)


def test_a_slow_client_gets_the_newest_and_neither_holds_up_the_device_nor_fills_memory() -> None:
    def draw(name: str) -> Iterator[Event]:
        yield Event("start", {})
        for k in range(1000):
            yield Event("step", {"step": k})
        yield FINAL

    async def test(queue: GenerationQueue) -> None:
        slow = queue.submit("slow")  # type: ignore[arg-type]
        assert (await collect(queue.submit("following"))).kind == "final"  # type: ignore[arg-type]
        assert len(slow.pending) <= 4
        kinds = [event async for event in slow]
        assert [event.kind for event in kinds if event.kind != "queued"] == ["start", "step", "final"]
        assert kinds[-2].data["step"] == 999

    with_queue(draw, test)


def test_what_goes_wrong_is_told_in_one_line_and_the_next_request_is_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def draw(error: Exception | None) -> Iterator[Event]:
        if error:
            raise error
        yield FINAL

    async def test(queue: GenerationQueue) -> None:
        own, other = ConfigError(["models: too many."]), ZeroDivisionError("/home/somebody")
        jobs = [queue.submit(each) for each in (own, other, None)]  # type: ignore[arg-type]
        events = [await collect(job) for job in jobs]
        assert [event.kind for event in events] == ["error", "error", "final"]
        assert events[0].data["detail"] == "models: too many."
        assert events[1].data["detail"] == "ZeroDivisionError in the server, which its output explains."

    with_queue(draw, test)
    assert "/home/somebody" in capsys.readouterr().err
