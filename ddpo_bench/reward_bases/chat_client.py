"""A client of OpenAI-compatible endpoints (vLLM, SGLang, hosted ones) that asks many questions at once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from ddpo_bench.reward_bases import answer_cache
from ddpo_bench.reward_bases.api_key import UNQUOTED, api_key, gives_away, quoted

NOT_INSTALLED = 'needs httpx and tenacity, which are not installed: pip install "ddpo-bench[vlm]"'
PASSING = {408, 409, 425, 429}  # and 5xx: worth another attempt
LONGEST_WAIT = 600.0  # s
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
        timeout: for a whole response, s.
        sleep, clock: replaced by tests.
    """

    url: str
    key_variable: str
    concurrency: int
    attempts: int
    timeout: float
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
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

        key = api_key(self.key_variable)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        free = asyncio.Semaphore(self.concurrency)
        limits = httpx.Limits(max_connections=self.concurrency)
        async with httpx.AsyncClient(headers=headers, timeout=None, limits=limits) as http:

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
            async with asyncio.timeout(self.timeout):
                response = await http.post(f"{self.url.rstrip('/')}/chat/completions", json=request)
        except TimeoutError:
            raise NoAnswer(f"no response within {self.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswer(f"{type(error).__name__}: {self.quoted(str(error))}") from None
        if response.status_code != 200:
            raise self.refusal(response)
        return self.answer_in(response, parse) | {"seconds": self.clock() - start}

    def answer_in(self, response: Any, parse: Parse) -> dict[str, Any]:
        said = text_of(response)
        try:
            body = json.loads(response.content)
            answer = parse(body["choices"][0])
            usage = {name: int(body["usage"][name]) for name in ("prompt_tokens", "completion_tokens")}
        except NoAnswer as error:
            raise NoAnswer(UNQUOTED if self.gives_away(said) else self.quoted(str(error))) from None
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise NoAnswer(f"not a chat completion ({type(error).__name__}): {self.quoted(said)}") from None
        if self.gives_away(json.dumps(answer)):
            raise NoAnswer(UNQUOTED)
        return {"answer": answer, **usage}

    def refusal(self, response: Any) -> NoAnswer:
        wait = wait_asked(response.headers)
        again = response.status_code in PASSING or response.status_code >= 500
        if response.status_code in (429, 503):
            self.closed_until = max(self.closed_until, self.clock() + min(wait, LONGEST_WAIT))
        reason = f"HTTP {response.status_code}: {self.quoted(text_of(response))}"
        return NoAnswer(reason, again and wait <= LONGEST_WAIT, wait)

    def quoted(self, said: str) -> str:
        return quoted(said, api_key(self.key_variable))

    def gives_away(self, said: str) -> bool:
        return gives_away(said, api_key(self.key_variable))


def text_of(response: Any) -> str:
    """Whatever encoding the endpoint says it is in."""
    text: str = response.content.decode("utf-8", "replace")
    return text


def wait_asked(headers: Any) -> float:
    """What an endpoint asks to wait for, s: Retry-After as seconds or as a date; 0 where it does not."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
