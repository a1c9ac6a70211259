"""The server: its addresses, its pages, and the rules of access in front of both."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from ddpo_bench.serve.access import Access
from ddpo_bench.serve.gallery import Gallery
from ddpo_bench.serve.routes import events, generate, health, models, runs, suites
from ddpo_bench.serve.settings import Settings

PAGES = Path(__file__).parent / "pages"
ROUTERS = (models.router, generate.router, suites.router, runs.router, events.router, health.router)


def create_app(settings: Settings) -> FastAPI:
    """The application of one server.

    Routes find what they share in `request.app.state`, settings among them.
    """
    app = FastAPI(title="ddpo-bench", docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.gallery = Gallery(settings.folders)
    app.state.watcher = events.watcher_of(app.state.gallery)
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, one_line)
    app.mount("/", StaticFiles(directory=PAGES, html=True), name="pages")
    app.add_middleware(Access, settings=settings)
    return app


async def one_line(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, in one line, as every other refusal says it."""
    assert isinstance(error, RequestValidationError)
    mistakes = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"detail": "; ".join(mistakes)}, status_code=422)
