"""The pages of a reward server: scores for who has the token, its health for everybody."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ddpo_bench.registry import unknown
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.remote_format import VERSION, BadRequest, read_request, response_of
from ddpo_bench.reward_server.scoring import Scoring

BODY_SECONDS = 120  # within which a request must arrive


def create_app(scoring: Scoring, token: str) -> FastAPI:
    """The application.

    Args:
        scoring: with started rewards.
        token: that every request but for health must carry, as `Authorization: Bearer TOKEN`.
    """
    app = FastAPI(title="ddpo-bench reward server", openapi_url=None, dependencies=[])

    @app.middleware("http")
    async def refuse_strangers(request: Request, answer: Callable[[Request], Any]) -> Response:
        if request.url.path != "/healthz" and not has_token(request, token):
            told = '{"detail": "send the token that the server was started with, as Authorization: Bearer TOKEN"}'
            return Response(told, 401, {"WWW-Authenticate": "Bearer"}, "application/json")
        response: Response = await answer(request)
        return response

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(scoring.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/rewards")
    async def rewards() -> dict[str, Any]:
        about = {name: {"fingerprint": mark} for name, mark in scoring.fingerprints.items()}
        return {"format": VERSION, "rewards": about}

    @app.post("/rewards/{name}/scores")
    async def scores(name: str, request: Request, fingerprint: str = "", format: int = VERSION) -> Response:
        refuse_other(scoring, name, fingerprint, format)
        with admitted(scoring):
            body = await body_of(request, scoring.settings.largest_body * 10**6)
            with told_to_the_client():
                images, prompts, metadata = await asyncio.to_thread(read_request, body, scoring.settings.most_images)
                del body
                output = await scoring.score(name, images, prompts, metadata)
        return Response(response_of(output), media_type="application/octet-stream")

    return app


def has_token(request: Request, token: str) -> bool:
    """Compares in a time that does not tell how much of it is right."""
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and secrets.compare_digest(sent.strip().encode(), token.encode())


def refuse_other(scoring: Scoring, name: str, fingerprint: str, format: int) -> None:
    if name not in scoring.rewards:
        raise HTTPException(404, unknown("reward", name, scoring.rewards))
    if format != VERSION:
        raise HTTPException(409, f"version {VERSION} of the format is spoken here, not {format}")
    if fingerprint not in ("", scoring.fingerprints[name]):
        told = f"{name} has the fingerprint {scoring.fingerprints[name]} here, not {fingerprint}"
        raise HTTPException(409, f"{told}: it was started anew with other options or files")


@contextmanager
def admitted(scoring: Scoring) -> Iterator[None]:
    """Counts a request among those at once, so that their bodies fit into memory."""
    if scoring.waiting >= scoring.settings.most_waiting:
        raise HTTPException(503, f"{scoring.waiting} requests are waiting already", {"Retry-After": "1"})
    scoring.waiting += 1
    try:
        yield
    finally:
        scoring.waiting -= 1


@contextmanager
def told_to_the_client() -> Iterator[None]:
    """Why there are no scores, in one line."""
    try:
        yield
    except (BadRequest, RewardError) as error:
        raise HTTPException(422, str(error)) from None
    except Exception as error:  # whatever a reward raises: out of memory, a server that it asks
        first = str(error).strip().partition("\n")[0]
        raise HTTPException(500, f"{type(error).__name__}: {first}") from error


async def body_of(request: Request, largest: int) -> bytes:
    """The body, of no more than `largest` bytes; a larger one is read to its end, or the refusal might not arrive."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= largest:
                    body += chunk
                else:
                    body.clear()
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {BODY_SECONDS} s") from None
    if size > largest:
        told = f"the request has {size / 1e6:.1f} MB, more than {largest // 10**6}"
        raise HTTPException(413, f"{told}: lower batch_size, or send images: png")
    return bytes(body)
