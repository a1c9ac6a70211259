"""The API is what its description says: requests made up from openapi.json, their answers checked against it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import torch
import uvicorn
from hypothesis import HealthCheck, given, settings

from ddpo_bench.serve.app import create_app
from ddpo_bench.serve.generation import Event, Plan, png
from ddpo_bench.serve.generator import Generator
from ddpo_bench.serve.server import listen
from ddpo_bench.serve.settings import Settings

ENDLESS = "/api/events"
CHECKS = list(HealthCheck)
NOT_OF_TYPES_ALONE = [schemathesis.checks.positive_data_acceptance]  # an id may be any text, and be that of no model


def drawn_at_once(self: Generator, plan: Plan) -> Iterator[Event]:
    picture = png(torch.zeros(1, 3, 8, 8))
    yield Event("final", {"scores": {}, "seconds": 0.0}, {model.id: picture for model in plan.models})


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Generator, "draw", drawn_at_once)
        listening = listen("127.0.0.1", 0)
        app = create_app(Settings((folder,), votes=folder / "votes.sqlite"))
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield schemathesis.openapi.from_url(f"http://127.0.0.1:{listening.getsockname()[1]}/openapi.json")
        finally:
            server.should_exit = True
            thread.join()
            listening.close()


def test_every_answer_is_as_described(api: Any) -> None:
    for found in api.exclude(path=ENDLESS).get_all_operations():
        operation = found.ok()

        @settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=CHECKS)
        @given(case=operation.as_strategy())
        def is_as_described(case: Any) -> None:
            case.call_and_validate(excluded_checks=NOT_OF_TYPES_ALONE)

        is_as_described()


def test_malformed_requests_are_refused_as_described(api: Any) -> None:
    (found,) = api.include(path="/api/generate").get_all_operations()

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=CHECKS)
    @given(case=found.ok().as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def is_refused(case: Any) -> None:
        case.call_and_validate()

    is_refused()


def test_the_example_of_the_description_draws_a_picture(api: Any) -> None:
    (found,) = api.include(path="/api/generate").get_all_operations()
    body = {"models": ["pretrained/stable_diffusion/embedded"], "prompt": "a red circle"}
    for accept, begins in (("image/png", b"\x89PNG"), ("text/event-stream", b"event: "), ("*/*", b"\x89PNG")):
        answer = found.ok().Case(body=body, headers={"Accept": accept}).call()
        assert (answer.status_code, answer.content[: len(begins)]) == (200, begins)
    assert found.ok().Case(body=body, headers={"Accept": "video/mp4"}).call().status_code == 406
