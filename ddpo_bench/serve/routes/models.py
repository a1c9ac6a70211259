"""`/api/models`: what can be chosen."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api", tags=["models"])
