"""A chat endpoint in a thread, which answers by how bright a picture is, or misbehaves as a test tells it to."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Misbehaviour = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Takes misbehaviours from `next` in turn, then answers."""

    daemon_threads = True
    next: list[Misbehaviour]
    asked: list[dict[str, Any]]
    headers: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(self.body)
        self.server.headers.append(dict(self.headers))
        if self.server.next:
            self.server.next.pop(0)(self)
        else:
            self.reply(200, completion(self.body))

    def reply(self, status: int, data: Any, **headers: str) -> None:
        text = (data if isinstance(data, str) else json.dumps(data)).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


def completion(body: dict[str, Any]) -> dict[str, Any]:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    bright = float(np.clip(pixels.mean() / 255, 0.01, 0.99))
    if "response_format" in body:
        name = body["response_format"]["json_schema"]["name"]
        content = json.dumps({name: 10 * bright if name == "score" else "Yes."})
        return chat({"message": {"content": content}})
    if not body.get("logprobs"):
        return chat({"message": {"content": f"Two {'bright' if bright > 0.2 else 'dark'} frogs on a cat."}})
    top = [{"token": token, "logprob": float(np.log(p))} for token, p in ((" Yes", bright), ("no", 1 - bright))]
    return chat({"logprobs": {"content": [{"top_logprobs": top}]}})


def chat(choice: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}


@cache
def server() -> Server:
    made = Server(("127.0.0.1", 0), Handler)
    made.next, made.asked, made.headers = [], [], []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def url() -> str:
    return f"http://127.0.0.1:{server().server_address[1]}/v1"
