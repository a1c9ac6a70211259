"""`/api/suites`: the results folders, their tables and plots."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse

from ddpo_bench.serve.gallery import Gallery, SuiteSummary, SuiteView

router = APIRouter(prefix="/api/suites", tags=["results"])
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "There is nothing of that name."}}


def gallery_of(request: Request) -> Gallery:
    gallery: Gallery = request.app.state.gallery
    return gallery


@router.get("")
def suites(request: Request) -> list[SuiteSummary]:
    """The suites, the one that changed last first."""
    return gallery_of(request).summaries()


@router.get("/{suite}", responses=UNKNOWN)
def suite(suite: str, request: Request) -> SuiteView:
    """The comparison table of a suite, its notes, plots and runs."""
    try:
        return gallery_of(request).suite(suite)
    except KeyError:
        raise HTTPException(404, f"There is no suite {suite!r}.") from None


@router.get("/{suite}/plots/{file}", responses=UNKNOWN, response_class=FileResponse)
def plot(suite: str, file: str, request: Request) -> FileResponse:
    """One of its plots, PNG."""
    root = gallery_of(request).suites().get(suite)
    plots = {path.name: path for path in root.glob("plots/*.png")} if root else {}
    if file not in plots:
        raise HTTPException(404, f"Suite {suite!r} has no plot {file!r}.")
    return FileResponse(plots[file], media_type="image/png")
