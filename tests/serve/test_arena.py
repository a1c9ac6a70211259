"""The blind vote's addresses, with a generator that draws at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from ddpo_bench import cli
from ddpo_bench.serve.app import create_app
from ddpo_bench.serve.arena import entries, label
from ddpo_bench.serve.generation import Event, GenerateRequest
from ddpo_bench.serve.generation_queue import QueueFull
from ddpo_bench.serve.settings import Settings
from ddpo_bench.serve.votes import FILE, Votes

FAMILY = "stable_diffusion/embedded"
WORTH = {"pretrained": 0.0, "ppo": 1.0, "sac": 2.0}  # what people think, and the judge "good"


def served(cell: str, seed: int, algorithm: str) -> SimpleNamespace:
    return SimpleNamespace(id=f"algos/{cell}-0123456789ab/seed-{seed}", kind="run", algorithm=algorithm)


MODELS = (
    SimpleNamespace(id=f"pretrained/{FAMILY}", kind="pretrained", algorithm=""),
    *(served(f"{algorithm}-jpeg", seed, algorithm) for algorithm in ("frozen", "ppo", "sac") for seed in (0, 1)),
)


class Drawing:
    """A job that is done."""

    def __init__(self, event: Event):
        self.event = event

    async def __aiter__(self) -> AsyncIterator[Event]:
        yield self.event

    def leave(self) -> None:
        pass


class Generator:
    """Gives pictures that say who drew them, to this test alone."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.refusal: Exception | None = None

    def families(self) -> list[Any]:
        return [SimpleNamespace(name=FAMILY, base="embedded", models=MODELS)]

    async def submit(self, request: GenerateRequest, previews: bool = True) -> Drawing:
        if self.refusal:
            raise self.refusal
        self.requests.append(request)
        scores = {id: {"good": worth(id), "bad": -worth(id)} for id in request.models}
        pictures = {id: id.encode() for id in request.models}
        return Drawing(Event("final", {"scores": scores, "seconds": 0.1}, pictures))


def worth(id: str) -> float:
    return next(value for name, value in WORTH.items() if name in id)


class Client(httpx.AsyncClient):
    """A client of an application whose generator is the one above."""

    def __init__(self, folder: Path):
        app = create_app(Settings((folder,), votes=folder / FILE))
        app.state.generator = self.generator = Generator()
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def round(self, **asked: Any) -> Any:
        return await self.post("/api/arena/rounds", json={"family": FAMILY, "prompt": "a dog", **asked})

    async def vote(self, round: str, choice: str = "left") -> Any:
        return await self.post(f"/api/arena/rounds/{round}/vote", json={"choice": choice})


@pytest.fixture(autouse=True)
def _prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddpo_bench.serve.routes.arena.example_prompts", lambda family: ["a cat", "two dogs"])


def test_a_cell_is_rated_over_its_seeds_and_frozen_runs_are_the_pretrained_model() -> None:
    assert {label(name): len(ids) for name, ids in entries(MODELS).items()} == {  # type: ignore[arg-type]
        "pretrained": 1,
        "ppo-jpeg (algos)": 2,
        "sac-jpeg (algos)": 2,
    }


def test_a_round_hides_its_models_until_the_one_vote(tmp_path: Path) -> None:
    async def test() -> None:
        client = Client(tmp_path)
        opened = (await client.round()).json()
        assert opened.keys() == {"round", "prompt", "left", "right"}
        drawn = client.generator.requests[0]
        assert len(set(drawn.models)) == 2
        hidden = json.dumps({**opened, "left": "", "right": ""})
        assert not any(model in hidden for model in drawn.models)
        told = (await client.vote(opened["round"])).json()
        assert [told["left"]["id"], told["right"]["id"]] == drawn.models
        assert told["left"]["scores"]["good"] == worth(drawn.models[0])
        again = await client.vote(opened["round"], "right")
        assert (again.status_code, again.json()["detail"][:31]) == (409, "this round has its vote already")
        assert (await client.vote("0" * 16)).status_code == 404
        assert (await client.vote(opened["round"], "both")).status_code == 422

    asyncio.run(test())


def test_prompts_are_those_of_the_evaluations_and_no_round_repeats_another(tmp_path: Path) -> None:
    async def test() -> None:
        client = Client(tmp_path)
        rounds = [(await client.round(prompt=None)).json() for _ in range(6)]
        assert {each["prompt"] for each in rounds} == {"a cat", "two dogs"}
        assert len({request.seed for request in client.generator.requests}) == 6

    asyncio.run(test())


def test_people_and_a_judge_who_agree_and_one_who_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> Any:
        client = Client(tmp_path)
        for _ in range(20):
            opened = (await client.round()).json()
            left, right = map(worth, client.generator.requests[-1].models)
            await client.vote(opened["round"], "left" if left > right else "right")
        return (await client.get("/api/ratings")).json()

    (found,) = asyncio.run(test())["families"]
    assert (found["family"], found["votes"]) == (FAMILY, 20)
    assert [entry["label"] for entry in found["entries"]] == ["sac-jpeg (algos)", "ppo-jpeg (algos)", "pretrained"]
    assert [entry["rewards"]["good"] for entry in found["entries"]] == [2.0, 1.0, 0.0]
    assert all(entry["low"] < entry["rating"] < entry["high"] for entry in found["entries"])
    judges = {judge["name"]: (judge["agreement"], judge["correlation"]) for judge in found["judges"]}
    assert judges == {"good": (1.0, pytest.approx(1.0)), "bad": (0.0, pytest.approx(-1.0))}

    assert cli.main(["votes", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"{FAMILY}: 20 votes" in printed
    assert "sac-jpeg (algos)" in printed
    assert cli.main(["votes", "--votes", str(tmp_path / FILE), "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 21


def test_a_round_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        client = Client(tmp_path)
        client.generator.refusal = QueueFull(16, 20)
        refused = await client.round()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "20")
        client.generator.refusal = None
        await client.round()
        with Votes(tmp_path / FILE).connected("ro") as file:
            assert file.execute("SELECT count(*) FROM rounds").fetchone()[0] == 1
        assert (await client.round(family="other")).status_code == 404

    asyncio.run(test())


def test_votes_that_cannot_be_kept_are_refused_in_one_line(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / FILE).mkdir()
        client = Client(tmp_path)
        refused = await client.round()
        assert refused.status_code == 409
        assert "Name another file with --votes." in refused.json()["detail"]

    asyncio.run(test())


def test_no_votes_are_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["votes", str(tmp_path)]) == 0
    assert "no votes yet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
