"""`/api/events`: changes in the runs as they happen."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from ddpo_bench.serve.gallery import Gallery
from ddpo_bench.serve.watching import Event, Watcher

router = APIRouter(prefix="/api/events", tags=["results"])


@router.get("", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(request: Request) -> StreamingResponse:
    """Server-sent events without end: {"run", "status", "epoch", "epochs", "reward_mean", ...} of a run that changed.

    The first is named `ready`: whatever changes after it is told.
    """
    told = lines(request.app.state.watcher)
    return StreamingResponse(told, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def lines(watcher: Watcher) -> AsyncGenerator[str, None]:
    ready = False
    async with aclosing(watcher.events()) as events:  # or the watcher would go on until the garbage is collected
        async for event in events:
            if event is not None:
                yield f"data: {json.dumps(event)}\n\n"
            else:
                yield ": still here\n\n" if ready else "event: ready\ndata: {}\n\n"
                ready = True


def watcher_of(gallery: Gallery) -> Watcher:
    """A watcher of the gallery's runs."""

    def describe(name: str) -> Event | None:
        run = gallery.run_summary(name)
        return vars(run) | {"run": name} if run else None

    return Watcher(gallery.changes, describe)
