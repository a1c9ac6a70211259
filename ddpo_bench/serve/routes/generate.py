"""`/api/generate`: pictures of several models from one prompt and the same noise."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["generate"])
