"""The API key of an endpoint: read from the environment, and recognised in whatever an endpoint says."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

PIECE = 8  # characters of a key that must not be told


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


def gives_away(text: str, key: str) -> bool:
    """Whether a text holds the key or a piece of it, also with the escapes of JSON or of URLs, once or repeatedly."""
    said, secret = plain(text), plain(key)
    return any(secret[at : at + PIECE] in said for at in range(max(1, len(secret) - PIECE + 1))) if secret else False


def plain(text: str) -> str:
    """Letters, digits and signs alone: without escapes, backslashes, white space and control characters."""
    unescaped = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unquote(text))
    return "".join(one for one in unescaped if one.isprintable() and one not in "\\ ")
