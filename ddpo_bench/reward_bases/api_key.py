"""The API key of an endpoint: read from the environment, and recognised in whatever an endpoint says."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

PIECE = 8  # characters of a key that must not be told
QUOTED = 200  # characters of what an endpoint says of its error
UNQUOTED = "the endpoint's text repeats the API key and is left out"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def api_key(variable: str) -> str:
    """The key in an environment variable; "" where there is no variable."""
    return os.environ.get(variable, "").strip() if variable else ""


def key_mistake(variable: str) -> str | None:
    """Why a variable holds no key that can be sent; None where it does, or where none is named."""
    key = api_key(variable)
    if not variable:
        return None
    if not key:
        return f"the environment variable {variable} is not set. Export it."
    if not (key.isascii() and key.isprintable()):
        return f"the environment variable {variable} holds characters that no API key has."
    return None


def variable_mistake(variable: str) -> str | None:
    """What is wrong with the name of a variable, which must not be a key itself; the message does not quote it."""
    if re.fullmatch(VARIABLE, variable):
        return None
    return "must be the name of a variable, such as OPENAI_API_KEY, not a key."


def url_mistake(url: str) -> str | None:
    """What is wrong with the URL of an endpoint; where it holds a password, the message does not quote it."""
    if "@" in url:
        return "must hold no user or password. Name a variable that holds the key."
    return None if url.startswith(("http://", "https://")) else f"must begin with http:// or https://, got {url!r}."


def quoted(said: str, key: str) -> str:
    """What an endpoint says, in one short line; nothing of it where it repeats the key."""
    if gives_away(said, key):
        return UNQUOTED
    line = " ".join("".join(one if one.isprintable() else " " for one in said).split())
    return line if len(line) <= QUOTED else f"{line[: QUOTED - 3]}..."


def gives_away(text: str, key: str) -> bool:
    """Whether a text holds the key or a piece of it, also with the escapes of JSON or of URLs, once or repeatedly."""
    said, secret = plain(text), plain(key)
    return any(secret[at : at + PIECE] in said for at in range(max(1, len(secret) - PIECE + 1))) if secret else False


def plain(text: str) -> str:
    """Letters, digits and signs alone: without escapes, backslashes, white space and control characters."""
    unescaped = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unquote(text))
    return "".join(one for one in unescaped if one.isprintable() and one not in "\\ ")
