"""Who may ask what: on loopback, with a token, from other sites, with large and slow bodies, by strange paths."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddpo_bench import cli
from ddpo_bench.serve import access
from ddpo_bench.serve.app import PAGES, create_app
from ddpo_bench.serve.settings import Settings

TOKEN = "a-token-of-some-length"
HERE = "http://127.0.0.1:8000"
BODY = {"models": ["nothing"], "prompt": "rain"}


def ask(settings: Settings, method: str, path: str, base: str = HERE, **options: Any) -> httpx.Response:
    async def answered() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        cookies = options.pop("cookies", None)
        async with httpx.AsyncClient(transport=transport, base_url=base, cookies=cookies) as client:
            return await client.request(method, path, **options)

    return asyncio.run(answered())


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings((tmp_path_factory.mktemp("results"),))


@pytest.fixture(scope="module")
def public(local: Settings) -> Settings:
    return Settings(local.folders, host="0.0.0.0", token=TOKEN)


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.rebound.example", "", "[", "10.0.0.1:8000"])
def test_a_name_that_was_pointed_at_loopback_is_refused(local: Settings, host: str) -> None:
    answer = ask(local, "GET", "/healthz", headers={"Host": host})
    assert answer.status_code == 421
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9000", "[::1]:8000", "LOCALHOST"])
def test_loopback_has_these_names(local: Settings, host: str) -> None:
    assert ask(local, "GET", "/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_pages_of_other_sites_change_nothing(local: Settings, origin: str) -> None:
    assert ask(local, "POST", "/api/generate", json=BODY, headers={"Origin": origin}).status_code == 403
    assert ask(local, "POST", "/api/generate", json=BODY, headers={"Origin": HERE}).status_code == 422


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"])
def test_wrong_tokens_open_nothing(public: Settings, given: str) -> None:
    for path in ("/", "/style.css", "/api/models", "/healthz", "/metrics", "/docs", "/openapi.json", "/?token=wrong"):
        answer = ask(public, "GET", path, headers={"Authorization": given.encode()})
        assert answer.status_code == 401
        assert TOKEN not in answer.text


def test_a_token_opens_by_header_and_by_the_cookie_that_the_address_sets(public: Settings) -> None:
    assert ask(public, "GET", "/healthz", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    first = ask(public, "GET", f"/?token={TOKEN}")
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert {"httponly", "samesite=strict"} <= set(first.headers["set-cookie"].lower().replace(" ", "").split(";"))
    assert ask(public, "GET", "/", cookies=dict(first.cookies)).status_code == 200
    elsewhere = ask(public, "GET", f"//evil.example/?token={TOKEN}")
    assert elsewhere.headers["location"] == "/"


def test_oversized_bodies_are_refused_whether_or_not_they_say_their_size(local: Settings) -> None:
    large = b"x" * (access.LARGEST_BODY + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    for content in (large, pieces()):
        answer = ask(local, "POST", "/api/generate", content=content)
        assert answer.status_code == 413
    assert ask(local, "POST", "/api/generate", headers={"Content-Length": "-1"}).status_code == 413


def test_a_body_that_does_not_arrive_and_a_client_that_does_not_read_are_given_up(
    local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(access, "SEND_SECONDS", 0.05)
    app, sent = create_app(local), []
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/api/generate", "query_string": b""}
    scope |= {"headers": [(b"host", b"localhost")], "asgi": {"version": "3.0"}, "scheme": "http", "root_path": ""}

    async def never(*message: Any) -> Any:
        await asyncio.Event().wait()

    async def note(message: Any) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, never, note), 20))
    assert sent[0]["status"] == 408
    messages = [{"type": "http.request"}]
    unread = scope | {"method": "GET", "path": "/style.css"}

    async def empty_body() -> Any:
        return messages.pop() if messages else await never()

    asyncio.run(asyncio.wait_for(app(unread, empty_body, never), 20))


STRANGE = (
    "/../settings.py", "/..%2fsettings.py", "/%2e%2e/settings.py", "/....//settings.py", "/%00", "//etc/passwd",
    "/..%5csettings.py", "/api/runs/../../../etc", "/api/runs/%2e%2e/%2e%2e/passwd", "/style.css/../../app.py",
)  # fmt: skip


@pytest.mark.parametrize("path", STRANGE)
def test_no_path_leads_out_of_the_pages(local: Settings, path: str) -> None:
    url = httpx.URL(HERE, raw_path=path.encode())
    answer = ask(local, "GET", url)  # type: ignore[arg-type]
    assert answer.status_code in (404, 405, 422)
    assert "dataclass" not in answer.text


def test_pages_load_only_what_is_ours_and_run_nothing_inline(local: Settings) -> None:
    policy = ask(local, "GET", "/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for page in PAGES.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text), page.name
    for file in (file for file in PAGES.iterdir() if file.suffix in (".html", ".css", ".js")):
        text = file.read_text().replace("http://www.w3.org/", "")
        assert not re.findall(r"""https?://\w|=["']?//|@import""", text), file.name


def test_the_wheel_has_the_pages() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert data["ddpo_bench.serve"] == ["pages/*"]
    assert not [path for path in PAGES.iterdir() if path.is_dir()]


def test_without_the_extra_there_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ddpo_bench.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve", str(tmp_path)]) == 1
    assert re.fullmatch(r'serve needs .*: pip install "ddpo-bench\[serve\]"\n', capsys.readouterr().err)
