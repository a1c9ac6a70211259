"""The report in a real browser, as a reader opens it: from a file, on a desk and on a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fabricate_tuning import BEST, TRIALS, fabricate_study, fabricate_tuning

from ddpo_bench.analysis.report.summary import summarise

pytestmark = pytest.mark.long

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900",
]  # fmt: skip
# Written into a copy of the page.  The outer page makes the inner one as narrow as asked: a window cannot be.
# The policy turns every request, even one that would succeed, into a complaint.
LISTENER = """<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>
const complaints = [];
addEventListener("error", event => complaints.push(String(event.message || event.target.src).slice(0, 200)), true);
addEventListener("securitypolicyviolation", event => complaints.push(event.blockedURI.slice(0, 200)));
for (const kind of ["error", "warn"]) console[kind] = (...words) => complaints.push(words.join(" "));
const report = () => parent.postMessage(JSON.stringify({
  width: innerWidth,
  content: document.documentElement.scrollWidth,
  images: [...document.images].map(image => image.naturalWidth),
  complaints,
}), "*");
addEventListener("load", () => setTimeout(report, 200));
</script>"""
OUTER = """<!doctype html><iframe src="copy.html" style="width: {width}px; height: 800px; border: 0"></iframe>
<script>addEventListener("message", event => document.title = event.data)</script>"""

needs_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


def look(page: str, width: int, folder: Path) -> dict[str, Any]:
    """What a browser finds in a page of a width in pixels."""
    (folder / "copy.html").write_text(page.replace("<head>", f"<head>{LISTENER}"))
    (folder / "outer.html").write_text(OUTER.format(width=width))
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]
    address = (folder / "outer.html").as_uri()
    ended = subprocess.run([*command, address], check=True, capture_output=True, text=True, timeout=120)
    title = re.search("<title>(.*?)</title>", ended.stdout, re.DOTALL)
    assert title, "the page never finished loading"
    return dict(json.loads(unescape(title[1])))


@needs_a_browser
@pytest.mark.parametrize("width", [390, 1152])
def test_it_opens_without_a_complaint_or_a_request_and_fits(suite: Path, tmp_path: Path, width: int) -> None:
    *_, last = fabricate_tuning(suite)
    last.unlink()
    fabricate_study(suite, last.stem, f"{BEST:012x}", TRIALS, ("reward", "kl"))
    summarise(suite)
    found = look((suite / "report.html").read_text(), width, tmp_path)
    assert found["complaints"] == []
    assert len(found["images"]) == len(list(suite.glob("plots/*.png"))) == 5 + 1
    assert all(found["images"])
    assert found["width"] == width
    assert found["content"] <= width


@needs_a_browser
def test_the_browser_would_have_complained(tmp_path: Path) -> None:
    body = (
        '<div style="width: 900px">wide</div><img src="data:image/png;base64,AAAA"><img src="missing.png">'
        "<script>console.error('printed'); undefinedFunction()</script>"
    )
    found = look(f"<!doctype html><html><head></head><body>{body}</body></html>", 390, tmp_path)
    assert found["content"] > 390
    assert found["images"] == [0, 0]
    assert any(complaint.endswith("missing.png") for complaint in found["complaints"])
    assert any("printed" in complaint for complaint in found["complaints"])
    assert any("undefinedFunction" in complaint for complaint in found["complaints"])
