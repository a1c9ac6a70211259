"""A client of OpenAI-compatible endpoints (vLLM, SGLang, hosted ones) that asks many questions at once.

By httpx and tenacity rather than the openai client, which ignores a Retry-After above a minute, lets every request find
out about a rate limit by itself, and changes weekly.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from ddpo_bench.rewards import answer_cache

MISSING = 'needs httpx and tenacity, which are not installed: pip install "ddpo-bench[vlm]"'
PASSING = {408, 409, 425, 429}  # and 5xx: worth another attempt
LONGEST_WAIT = 600.0  # s
QUOTED = 200  # characters of what an endpoint says of its error
Parse = Callable[[dict[str, Any]], Any]


class NoAnswer(Exception):
    """A request that got no usable answer; the message never holds the key.

    Attributes:
        again: whether another attempt may succeed.
        wait: what the endpoint asked to wait for before it, s.
    """

    def __init__(self, reason: str, again: bool = True, wait: float = 0.0):
        super().__init__(reason)
        self.again, self.wait = again, wait


@dataclass
class ChatClient:
    """Asks one endpoint.

    Attributes:
        url: up to "/v1".
        key_variable: the environment variable that holds the API key; "" for none.
        timeout: for connecting and between two pieces of a response, s.
        sleep, clock: replaced by tests.
    """

    url: str
    key_variable: str
    concurrency: int
    attempts: int
    timeout: float
    sleep: Callable[[float], Awaitable[object]] = field(default=asyncio.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self.closed_until = 0.0  # by the clock: one rate limit holds for all requests
        self.jitter = random.Random()

    def ask(self, requests: list[dict[str, Any]], parse: Parse) -> list[Any]:
        """Answers in the order of the requests; where there is none, the NoAnswer.

        Args:
            requests: bodies of /chat/completions; equal ones are asked once.
            parse: makes an answer, which JSON can hold, of a response, or raises NoAnswer.
        """
        keys = [answer_cache.key_of(request) for request in requests]
        found: dict[str, Any] = answer_cache.known(keys)
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        if new:
            found |= asyncio.run(self.ask_all(new, parse))
        return [found[key] for key in keys]

    async def ask_all(self, requests: dict[str, dict[str, Any]], parse: Parse) -> dict[str, Any]:
        import httpx

        headers = {"Authorization": f"Bearer {self.key()}"} if self.key_variable else {}
        free = asyncio.Semaphore(self.concurrency)
        limits = httpx.Limits(max_connections=self.concurrency)
        async with httpx.AsyncClient(headers=headers, timeout=self.timeout, limits=limits) as http:

            async def ask(key: str, request: dict[str, Any]) -> Any:
                async with free:
                    try:
                        answer = await self.retried(http, request, parse)
                    except NoAnswer as error:
                        return error
                return answer_cache.keep(key, answer)

            answers = await asyncio.gather(*(ask(key, request) for key, request in requests.items()))
        return dict(zip(requests, answers, strict=True))

    async def retried(self, http: Any, request: dict[str, Any], parse: Parse) -> Any:
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=1, max=60)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), getattr(error, "wait", 0.0))

        retrying = tenacity.AsyncRetrying(
            sleep=self.sleep, wait=wait, stop=tenacity.stop_after_attempt(self.attempts), reraise=True,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, NoAnswer) and error.again),
        )  # fmt: skip
        return await retrying(self.once, http, request, parse)

    async def once(self, http: Any, request: dict[str, Any], parse: Parse) -> Any:
        import httpx

        if (closed := self.closed_until - self.clock()) > 0:
            await self.sleep(closed + self.jitter.random())
        start = self.clock()
        try:
            response = await http.post(f"{self.url.rstrip('/')}/chat/completions", json=request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(self.safe(f"{type(error).__name__}: {error}")) from None
        if response.status_code != 200:
            raise self.refusal(response)
        try:
            body = response.json()
            answer = parse(body["choices"][0])
            usage = {name: int(body["usage"][name]) for name in ("prompt_tokens", "completion_tokens")}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            text = self.safe(response.text)
            raise NoAnswer(f"not a chat completion ({type(error).__name__}): {text}") from None
        return {"answer": answer, "seconds": self.clock() - start, **usage}

    def refusal(self, response: Any) -> NoAnswer:
        wait = wait_asked(response.headers)
        again = response.status_code in PASSING or response.status_code >= 500
        if response.status_code in (429, 503):
            self.closed_until = max(self.closed_until, self.clock() + min(wait, LONGEST_WAIT))
        reason = self.safe(f"HTTP {response.status_code}: {response.text}")
        return NoAnswer(reason, again and wait <= LONGEST_WAIT, wait)

    def safe(self, text: str) -> str:
        """A text in one short line, without the key should the endpoint quote it."""
        key = self.key() if self.key_variable else ""
        line = " ".join((text.replace(key, "***") if key else text).split())
        return line if len(line) <= QUOTED else f"{line[: QUOTED - 3]}..."

    def key(self) -> str:
        """The API key.

        Raises:
            ValueError: where the variable is not set, or holds what no header can carry.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise ValueError(f"api_key_variable: the environment variable {self.key_variable} is not set. Export it.")
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"api_key_variable: {self.key_variable} holds characters that no API key has.")
        return key


def wait_asked(headers: Any) -> float:
    """What an endpoint asks to wait for, s: Retry-After as seconds or as a date; 0 where it does not."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
