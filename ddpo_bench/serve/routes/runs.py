"""`/api/runs`: every run with its curves, pictures and configuration."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse

from ddpo_bench.checksummed import Damaged
from ddpo_bench.config import ConfigError
from ddpo_bench.serve.routes.suites import UNKNOWN, gallery_of
from ddpo_bench.serve.run_view import SAMPLES, RunSummary, RunView, run_view

router = APIRouter(prefix="/api/runs", tags=["results"])


@router.get("")
def runs(request: Request) -> list[RunSummary]:
    """All runs that have begun."""
    gallery = gallery_of(request)
    return [run for name in gallery.suites() for run in gallery.suite(name).runs if run.status != "queued"]


@router.get("/{suite}/{cell}/{seed}", responses={**UNKNOWN, 409: {"description": "A file of the run is damaged."}})
def run(suite: str, cell: str, seed: str, request: Request) -> RunView:
    """One run: `seed` is "seed-0"."""
    name = f"{suite}/{cell}/{seed}"
    try:
        return run_view(name, folder_of(name, request))
    except (Damaged, ConfigError) as damage:
        raise HTTPException(409, str(damage)) from None


@router.get("/{suite}/{cell}/{seed}/samples/{file}", responses=UNKNOWN, response_class=FileResponse)
def samples(suite: str, cell: str, seed: str, file: str, request: Request) -> FileResponse:
    """The pictures of one evaluation, PNG."""
    folder = folder_of(f"{suite}/{cell}/{seed}", request) / "samples"
    if not SAMPLES.fullmatch(file) or not (folder / file).is_file():
        raise HTTPException(404, f"The run has no pictures {file!r}.")
    return FileResponse(folder / file, media_type="image/png")


def folder_of(name: str, request: Request) -> Path:
    """Where a run is; what a client says is only looked up, never part of a path."""
    folder = gallery_of(request).runs().get(name)
    if folder is None:
        raise HTTPException(404, f"There is no run {name!r}.")
    return folder
