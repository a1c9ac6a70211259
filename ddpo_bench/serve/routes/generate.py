"""`/api/generate`: pictures of several models from one prompt and the same noise."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from ddpo_bench.serve.generation import Event, GenerateRequest, row
from ddpo_bench.serve.generation_queue import Job, collect

STREAM, PNG = "text/event-stream", "image/png"


class Refusal(BaseModel):
    """Why a request is not answered, in one line."""

    detail: str


router = APIRouter(prefix="/api", tags=["generate"])
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {PNG: {}, STREAM: {}}, "description": "the pictures, or the events of their making"},
    400: {"model": Refusal, "description": "the body is not JSON"},
    406: {"model": Refusal, "description": f"neither {PNG} nor {STREAM} is accepted"},
    422: {"model": Refusal, "description": "the request cannot be answered as it is"},
    503: {"model": Refusal, "description": "too many requests wait; Retry-After says when to try again"},
}


@router.post("/generate", response_class=Response, responses=ANSWERS)
async def generate(wanted: GenerateRequest, request: Request) -> Response:
    """Draw a picture with each model, from the same noise.

    With `Accept: text/event-stream` come the events queued, start, step, final or error, each a line of JSON; with
    `Accept: image/png` the pictures next to one another.
    """
    form = accepted(request.headers.get("accept", "*/*"))
    job = await request.app.state.generator.submit(wanted, previews=form == STREAM)
    if form == STREAM:
        return EventStream(job)
    last = await unless_gone(request, job)
    if last.kind == "error":
        raise HTTPException(500, last.data["detail"])
    return Response(row(last.pictures or {}), media_type=PNG)


def accepted(accept: str) -> str:
    """The form of the answer.

    Raises:
        HTTPException: where none of them is accepted.
    """
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    if STREAM in kinds or "text/*" in kinds:
        return STREAM
    if not kinds & {PNG, "image/*", "*/*"}:
        raise HTTPException(406, f"Accept: {accept}: the answer is {PNG} or {STREAM}.")
    return PNG


class EventStream(StreamingResponse):
    """The events of a job, which it leaves when the client does."""

    def __init__(self, job: Job):
        super().__init__(as_text(job), media_type=STREAM, headers={"X-Accel-Buffering": "no"})
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.leave()


async def as_text(job: Job) -> AsyncIterator[str]:
    """Events as a browser reads them (server-sent events)."""
    async for event in job:
        data = dict(event.data)
        if event.pictures is not None:
            data["images"] = {id: data_url(picture) for id, picture in event.pictures.items()}
        yield f"event: {event.kind}\ndata: {json.dumps(data)}\n\n"


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


async def unless_gone(request: Request, job: Job) -> Event:
    """The last event; a client that leaves ends the generation.

    Raises:
        HTTPException: that nobody will read.
    """
    last, gone = asyncio.ensure_future(collect(job)), asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait((last, gone), return_when=asyncio.FIRST_COMPLETED)
        if not last.done():
            raise HTTPException(499, "The client has left.")
        return last.result()
    finally:
        last.cancel()
        gone.cancel()


async def disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
