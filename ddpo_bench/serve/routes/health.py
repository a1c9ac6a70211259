"""Whether the server is well, for those who watch it."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["health"])
