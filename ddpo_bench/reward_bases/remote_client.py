"""A client of reward servers, which waits for one that is away, is busy or is being started."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ddpo_bench.registry import unknown
from ddpo_bench.reward_bases.api_key import api_key, key_mistake, quoted
from ddpo_bench.reward_bases.chat_client import wait_asked
from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.remote_format import VERSION

PASSING = {408, 429, 502, 503, 504}  # the server is busy, or one in front of it does not reach it
SECONDS_TO_CONNECT = 10.0


class Away(Exception):
    """No answer for now.

    Attributes:
        wait: what the server asked to wait for, s.
    """

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class Refused(RewardError):
    """The server will not answer, however often it is asked.

    Attributes:
        option: of the reward, to change.
    """

    def __init__(self, option: str, reason: str):
        super().__init__(reason)
        self.option = option


@dataclass
class RemoteClient:
    """Asks one server.

    Attributes:
        token_variable: the environment variable that holds the token.
        timeout: for a response, s.
        patience: how long to wait for a server that is away, s.
        sleep: replaced by tests.
    """

    url: str
    token_variable: str
    timeout: float
    patience: float
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        import httpx

        if mistake := key_mistake(self.token_variable):
            raise Refused("token_variable", mistake)
        headers = {"Authorization": f"Bearer {api_key(self.token_variable)}"}
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, SECONDS_TO_CONNECT))
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout) as http:
                yield http
        except httpx.InvalidURL as error:
            raise Refused("url", f"{self.url!r} is no URL: {error}.") from None

    def fingerprint(self, reward: str) -> str:
        """Of the reward that the server has under a name.

        Raises:
            Away: where nobody answers.
            Refused: where it has none, refuses the token or is of another version.
        """
        with self.connected() as http:
            response = self.once(http, "GET", "/rewards")
        try:
            about = response.json()
            version = about["format"]
            fingerprints = {name: one["fingerprint"] for name, one in about["rewards"].items()}
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Refused("url", f"{self.url} is no reward server: it says {self.quoted(response.text)}") from None
        if version != VERSION:
            told = f"{self.url} speaks version {version} of the format, and this client {VERSION}"
            raise Refused("url", f"{told}. Install the same ddpo-bench on both.")
        if reward not in fingerprints:
            raise Refused("reward", f"{self.url}: {unknown('reward', reward, fingerprints)}")
        return str(fingerprints[reward])

    def scores(self, reward: str, fingerprint: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
        """The bodies of the responses to requests for scores; the server may be away meanwhile."""
        asked = {"fingerprint": fingerprint, "format": str(VERSION)}
        headers = {"Content-Type": "application/octet-stream"}
        with self.connected() as http:
            for body in bodies:
                post = partial(self.once, http, "POST", f"/rewards/{reward}/scores", params=asked, headers=headers)
                yield self.patiently(post, content=body).content

    def patiently(self, ask: Callable[..., Any], **arguments: Any) -> Any:
        """What `ask` gives, asked again while the server is away.

        Raises:
            RewardError: where it stays away for longer than `patience`, or refuses.
        """
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=0.2, max=10)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), getattr(error, "wait", 0.0))

        def tell(state: tenacity.RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome:
                reason = f"{state.outcome.exception()}; asking again for up to {self.patience:g} s"
                print(f"reward server {self.url}: {reason}", file=sys.stderr, flush=True)

        retrying = tenacity.Retrying(
            sleep=self.sleep, wait=wait, stop=tenacity.stop_after_delay(self.patience), before_sleep=tell, reraise=True,
            retry=tenacity.retry_if_exception_type(Away),
        )  # fmt: skip
        try:
            return retrying(ask, **arguments)
        except Away as error:
            raise RewardError(f"{self.url} has given no answer for {self.patience:g} s: {error}") from None

    def once(self, http: Any, method: str, path: str, **request: Any) -> Any:
        import httpx

        try:
            response = http.request(method, path, **request)
        except httpx.LocalProtocolError as error:
            raise Refused("url", f"no request can be sent to {self.url}: {self.quoted(str(error))}") from None
        except httpx.RequestError as error:  # refused, cut, timed out
            raise Away(f"{type(error).__name__}: {self.quoted(str(error))}") from None
        if response.status_code == 200:
            return response
        reason = f"HTTP {response.status_code}: {self.quoted(detail_of(response))}"
        if response.status_code in PASSING:
            raise Away(reason, wait_asked(response.headers))
        if response.status_code == 401:
            told = f"{self.url} refuses the token in the environment variable {self.token_variable}"
            raise Refused("token_variable", f"{told}. Export the one that the server was started with.")
        raise Refused("url", f"{self.url} answers {reason}")

    def quoted(self, said: str) -> str:
        return quoted(said, api_key(self.token_variable))


def detail_of(response: Any) -> str:
    """What the server says of an error, or whatever another one at this address does."""
    try:
        return str(response.json()["detail"])
    except (ValueError, LookupError, TypeError):
        said: str = response.content.decode("utf-8", "replace")
        return said
