"""Who may ask what: token, the Host and Origin of a request, the size of its body, and what a browser may do with ours.

* On loopback the Host must name this machine, so that no web page reaches the server by a name of its own that it has
  pointed at 127.0.0.1 (DNS rebinding).
* What changes something must come from our own pages: a browser says in Origin whose page sends it.
* With a token, every request carries it, in `Authorization: Bearer TOKEN` or in the cookie that `/?token=TOKEN` sets.
* A body is read whole before anything else sees it, up to a size and within a time.
"""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ddpo_bench.serve.settings import LOOPBACK, Settings

LARGEST_BODY = 64 * 1024  # bytes; a prompt has at most 1000 characters
BODY_SECONDS, SEND_SECONDS = 10, 30  # within which a body must arrive, and a client must take a message
COOKIE = "ddpo_bench_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class TooSlow(Exception):
    """A client does not take what it asked for."""


class Access:
    """The rules of access, in front of an application."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":  # and there are no WebSockets
            await self.answer(scope, receive, with_headers(in_time(send)))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(send)
        try:
            await self.refuse_or_answer(scope, receive, answer.send)
        except asyncio.CancelledError:  # the server ends
            await answer.end(scope, receive)

    async def refuse_or_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refused = self.refusal(scope)
            if refused is None:
                receive = await with_body(Headers(scope=scope), receive)
            await (refused or self.app)(scope, receive, send)
        except BodyRefused as refusal:
            await JSONResponse({"detail": str(refusal)}, refusal.status)(scope, receive, send)
        except TooSlow:
            return

    def refusal(self, scope: Scope) -> Response | None:
        """What to answer instead, where a request may not pass."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.settings.is_local and host_name(host) not in LOOPBACK:
            return refuse(421, f"Host {host!r} is not this machine. Open the address that ddpo-bench serve printed.")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            return refuse(403, "The request comes from a page of another site.")
        return self.token_refusal(scope, headers) if self.settings.token else None

    def token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and self.is_token(given) and scope["method"] == "GET":
            response = RedirectResponse(scope["path"] if scope["path"][:2] != "//" else "/", 303)
            response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return response
        kind, _, sent = headers.get("authorization", "").partition(" ")
        sent = sent.strip() if kind.lower() == "bearer" else cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if self.is_token(sent):
            return None
        told = "A token is needed: open the address that ddpo-bench serve printed, or send Authorization: Bearer TOKEN."
        return refuse(401, told, {"WWW-Authenticate": "Bearer"})

    def is_token(self, given: str) -> bool:
        """Compares in a time that does not tell how much of it is right."""
        return secrets.compare_digest(given.encode(), (self.settings.token or "").encode())


class Answer:
    """How far an answer has come."""

    def __init__(self, to_client: Send):
        self.to_client = to_client
        self.has_begun = self.is_complete = False

    async def send(self, message: Message) -> None:
        self.has_begun = True
        self.is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self.to_client(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """End it as it is."""
        if not self.has_begun:
            await refuse(503, "The server ends.")(scope, receive, self.to_client)
        elif not self.is_complete:
            await self.to_client({"type": "http.response.body", "body": b""})


def refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


def host_name(host: str) -> str:
    """The name in a Host header, without its port and without the brackets of IPv6."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class BodyRefused(Exception):
    """A body is too large, or too slow."""

    def __init__(self, status: int, told: str):
        super().__init__(told)
        self.status = status


async def with_body(headers: Headers, receive: Receive) -> Receive:
    """`receive` whose first message is the whole body.

    Raises:
        BodyRefused: where it is too large, or does not arrive.
    """
    told = f"The body has more than {LARGEST_BODY // 1024} KB."
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        raise BodyRefused(413, told)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return lambda: answer_of(message)
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > LARGEST_BODY:
                    raise BodyRefused(413, told)
    except TimeoutError:
        raise BodyRefused(408, f"The body did not arrive within {BODY_SECONDS} seconds.") from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]
    return lambda: answer_of(whole.pop()) if whole else receive()


async def answer_of(message: Message) -> Message:
    return message


def in_time(send: Send) -> Send:
    """`send` that gives up on a client that does not read."""

    async def timed(message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)
        except TimeoutError:
            raise TooSlow from None

    return timed


def with_headers(send: Send) -> Send:
    """`send` that tells browsers to load nothing from elsewhere, and to run nothing that is not in a file of ours."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return told
