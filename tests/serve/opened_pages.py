"""Pages opened in a browser, and what they complain of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
DESK = {"width": 1280, "height": 860}
PATIENCE = 60_000  # milliseconds
Open = Callable[..., Any]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opening(browser: Any, address: str) -> Iterator[Open]:
    """What opens pages below an address; none may have complained in the end."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(path: str, viewport: dict[str, int] = DESK, tolerated: str = "nothing", **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: complaints.extend(complaint(said, tolerated)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address + path)
        if path.startswith("compare"):
            page.wait_for_selector("#generate:enabled")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def complaint(said: Any, tolerated: str) -> list[str]:
    return [said.text] if said.type in ("error", "warning") and tolerated not in said.text else []
