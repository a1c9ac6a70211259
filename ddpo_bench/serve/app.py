"""The server: its addresses, its pages, and the rules of access in front of both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from ddpo_bench.parsing import ConfigError
from ddpo_bench.serve.access import Access
from ddpo_bench.serve.gallery import Gallery
from ddpo_bench.serve.generation_queue import QueueFull
from ddpo_bench.serve.generator import Generator
from ddpo_bench.serve.routes import arena, events, generate, health, models, runs, suites
from ddpo_bench.serve.settings import Settings
from ddpo_bench.serve.votes import Votes, VotesError

Handler = Callable[[Request, Exception], Awaitable[Response]]
PAGES = Path(__file__).parent / "pages"
ROUTERS = tuple(each.router for each in (models, generate, suites, runs, events, arena, health))


def create_app(settings: Settings) -> FastAPI:
    """The application of one server.

    Routes find what they share in `request.app.state`: `settings`, `generator`, `gallery`, `watcher`, `votes`.
    """
    app = FastAPI(
        title="ddpo-bench", version=metadata.version("ddpo-bench"), docs_url=None, redoc_url=None, lifespan=running
    )
    app.state.settings = settings
    app.state.gallery = Gallery(settings.folders)
    app.state.watcher = events.watcher_of(app.state.gallery)
    app.state.votes = Votes(settings.votes)
    app.state.generator = Generator(settings)
    for router in ROUTERS:
        app.include_router(router)
    for kind, answer in REFUSALS.items():
        app.add_exception_handler(kind, answer)
    app.mount("/", StaticFiles(directory=PAGES, html=True), name="pages")
    app.add_middleware(Access, settings=settings)
    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """What goes on in the background while the server runs."""
    generator: Generator = app.state.generator
    async with generator.queue.answering():
        await run_in_threadpool(generator.warm_up)
        yield


async def malformed(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, in one line, as every other refusal says it."""
    assert isinstance(error, RequestValidationError)
    mistakes = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(mistakes)}, 422)


async def impossible(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


async def not_now(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 409)


async def come_again(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QueueFull)
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(error.seconds)})


REFUSALS: dict[type[Exception], Handler] = {
    RequestValidationError: malformed,
    ConfigError: impossible,
    QueueFull: come_again,
    VotesError: not_now,
}
