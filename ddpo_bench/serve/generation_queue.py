"""One generation at a time on the device, in the order of the requests, of which a bounded number waits.

A thread of its own draws, so that nothing waits for it but the client.  What a client has not taken yet is bounded too:
of events of one kind it gets the newest, so that a slow one neither holds up the thread nor fills memory.  A client
that leaves ends its generation at the next step of a model.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing

from ddpo_bench.serve.generation import Event, Plan
from ddpo_bench.serve.measured import Measured

ENDS = ("final", "error")
LONGEST_WAIT = 30  # seconds after which a refused client is told to come again, at most
OWN = ("ddpo_bench", "ddpo_kernels")  # whose errors are sentences for users
Draw = Callable[[Plan], Iterator[Event | None]]


class QueueFull(Exception):
    """As many requests wait as may.

    Attributes:
        seconds: after which it makes sense to try again.
    """

    def __init__(self, waiting: int, seconds: int):
        super().__init__(f"{waiting} requests wait already. Try again in {seconds} s.")
        self.seconds = seconds


class Job:
    """A request on its way, whose events are iterated over, to the last one; what its client has not taken yet waits.

    Who submitted it calls `leave` in the end, which stops a generation that nobody waits for.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.left = threading.Event()  # by its client
        self.pending: dict[str, Event] = {}  # the newest of each kind
        self.news = asyncio.Event()
        self.submitted = time.monotonic()

    def put(self, event: Event) -> None:
        self.pending.pop(event.kind, None)
        self.pending[event.kind] = event
        self.news.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            await self.news.wait()
            self.news.clear()
            while self.pending:
                event = self.pending.pop(next(iter(self.pending)))
                yield event
                if event.kind in ENDS:
                    return

    def leave(self) -> None:
        self.left.set()


class GenerationQueue:
    """The waiting requests, and the thread that answers them.

    Args:
        draw: gives the events of a request, in the queue's own thread.
        size: how many may wait, in addition to the one that is drawn.
    """

    def __init__(self, draw: Draw, size: int, measured: Measured):
        self.draw, self.size, self.measured = draw, size, measured
        self.waiting: deque[Job] = deque()
        self.current: Job | None = None
        self.arrived = asyncio.Event()
        self.usual_seconds = 1.0  # of a generation, a moving average

    def __len__(self) -> int:
        return len(self.waiting) + (self.current is not None)

    def submit(self, plan: Plan) -> Job:
        """A request that waits for its turn from now on.

        Raises:
            QueueFull: where it may not.
        """
        self.forget_those_who_left()
        if len(self.waiting) >= self.size:
            self.measured.refused.inc()
            seconds = math.ceil(self.usual_seconds * len(self.waiting))
            raise QueueFull(len(self.waiting), min(seconds, LONGEST_WAIT))
        job = Job(plan)
        self.waiting.append(job)
        self.arrived.set()
        self.tell_positions()
        return job

    def forget_those_who_left(self) -> None:
        self.waiting = deque(job for job in self.waiting if not job.left.is_set())
        self.measured.waiting.set(len(self.waiting))

    def tell_positions(self) -> None:
        """Tell how many are before each; the one that is being drawn counts as one."""
        self.measured.waiting.set(len(self.waiting))
        for place, job in enumerate(self.waiting):
            job.put(Event("queued", {"position": place + (self.current is not None)}))

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Within this context requests are answered; at its end all of them are given up."""
        with ThreadPoolExecutor(1, "generation") as pool:
            answering = asyncio.create_task(self.answer_all(pool))
            try:
                yield
            finally:
                answering.cancel()
                for job in (*self.waiting, *([self.current] if self.current else [])):
                    job.leave()

    async def answer_all(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            while self.next_in_turn():
                job = self.current
                assert job is not None
                try:
                    await loop.run_in_executor(pool, self.answer, job, loop)
                finally:
                    self.current = None

    def next_in_turn(self) -> bool:
        self.forget_those_who_left()
        if not self.waiting:
            return False
        self.current = self.waiting.popleft()
        self.tell_positions()
        return True

    def answer(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Draw, in the thread; what goes wrong is told to the client."""
        began = time.monotonic()
        self.measured.waited.observe(began - job.submitted)
        outcome = "cancelled"
        try:
            with closing(self.draw(job.plan)) as events:  # type: ignore[type-var]
                for event in events:
                    if job.left.is_set():
                        break
                    if event is not None:
                        outcome = "done" if event.kind in ENDS else outcome
                        loop.call_soon_threadsafe(job.put, event)
        except Exception as error:
            outcome = "failed"
            loop.call_soon_threadsafe(job.put, Event("error", {"detail": told(error)}))
        seconds = time.monotonic() - began
        self.usual_seconds += 0.3 * (seconds - self.usual_seconds)
        self.measured.generations.labels(outcome).inc()
        self.measured.seconds.observe(seconds)


def told(error: Exception) -> str:
    """What a client is told; what is not meant for users goes to stderr."""
    if type(error).__module__.startswith(OWN):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    if type(error).__name__ == "OutOfMemoryError":
        return "The device's memory is used up. Choose fewer models, or start ddpo-bench serve with a smaller --memory."
    return f"{type(error).__name__} in the server, which its output explains."


async def collect(job: Job) -> Event:
    """The last event of a generation, "final" or "error"; who is cancelled while waiting for it leaves."""
    try:
        async for event in job:
            if event.kind in ENDS:
                return event
        raise RuntimeError("a generation ended without a result")
    finally:
        job.leave()
