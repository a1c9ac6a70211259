"""Whether the server is well, for those who watch it; and the page of its addresses."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from ddpo_bench.serve.generator import Generator

PAGE = Path(__file__).parents[1] / "pages" / "docs.html"
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """`queue` counts the requests that wait or are being answered."""

    status: str
    device: str
    queue: int


@router.get("/healthz")
async def healthz(request: Request) -> Health:
    """Whether the server answers."""
    generator: Generator = request.app.state.generator
    return Health(status="ok", device=str(generator.device), queue=len(generator.queue))


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counts and durations in Prometheus's text format."""
    generator: Generator = request.app.state.generator
    return Response(generate_latest(generator.measured.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    return FileResponse(PAGE)
