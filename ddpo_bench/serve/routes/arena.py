"""`/api/arena` and `/api/ratings`: two hidden models draw, people choose, and what follows from their choices."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ddpo_bench.serve import arena
from ddpo_bench.serve.agreement import Judge, Standings, standings
from ddpo_bench.serve.generation import Event, GenerateRequest
from ddpo_bench.serve.generator import Generator
from ddpo_bench.serve.models import Family, example_prompts
from ddpo_bench.serve.ratings import Choice
from ddpo_bench.serve.routes.generate import Refusal, data_url, unless_gone
from ddpo_bench.serve.votes import Round, Votes

router = APIRouter(prefix="/api", tags=["blind vote"])


class RoundRequest(BaseModel):
    """Which family is to draw, and what; without a prompt, one on which its runs were evaluated."""

    model_config = ConfigDict(extra="forbid")

    family: str = Field(max_length=200, description="from /api/models")
    prompt: str | None = Field(default=None, min_length=1, max_length=1000, pattern=r"\S")


class RoundView(BaseModel):
    """Two pictures, as data URLs; whose they are is told after the vote."""

    round: str
    prompt: str
    left: str
    right: str


class VoteRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    choice: Choice


class Side(BaseModel):
    """Who drew a picture, and what the judges say of it."""

    id: str
    label: str
    scores: dict[str, float | None]


class Revealed(BaseModel):
    left: Side
    right: Side


class RatedEntry(BaseModel):
    """`rewards` are mean scores of its pictures that were voted on; the rating is in Elo's points around 0."""

    id: str
    label: str
    rating: float
    low: float
    high: float
    votes: int
    rewards: dict[str, float]


class RatedFamily(BaseModel):
    family: str
    votes: int
    entries: list[RatedEntry]
    judges: list[Judge]


class Ratings(BaseModel):
    families: list[RatedFamily]


REFUSED: dict[int | str, dict[str, Any]] = {
    404: {"model": Refusal, "description": "there is nothing of that name"},
    409: {"model": Refusal, "description": "it cannot be done as things are"},
    422: {"model": Refusal, "description": "the request cannot be answered as it is"},
}
BUSY: dict[int | str, dict[str, Any]] = {503: {"model": Refusal, "description": "too many requests wait"}}


@router.post("/arena/rounds", responses={**REFUSED, **BUSY})
async def open_round(asked: RoundRequest, request: Request) -> RoundView:
    """Two pictures by two hidden models, from one prompt and the same noise."""
    generator: Generator = request.app.state.generator
    votes: Votes = request.app.state.votes
    found = await run_in_threadpool(family_of, asked.family, generator)
    rated = arena.entries(found.models)
    if len(rated) < 2:
        raise HTTPException(409, "A blind vote needs two models. Train one: ddpo-bench run smoke")
    prompts = [asked.prompt] if asked.prompt else example_prompts(found)
    opened = await run_in_threadpool(
        votes.open_round, found.name, lambda rounds: arena.pick(rounds, rated, prompts), secrets.token_hex(8)
    )
    try:
        drawn = await pictures(opened, generator, request)
        left, right = opened.left_model, opened.right_model
        scores = {"left": drawn.data["scores"][left], "right": drawn.data["scores"][right]}
        await run_in_threadpool(votes.drawn, opened.id, scores)
    except BaseException:
        votes.drop(opened.id)
        raise
    shown = drawn.pictures or {}
    return RoundView(round=opened.id, prompt=opened.prompt, left=data_url(shown[left]), right=data_url(shown[right]))


def family_of(name: str, generator: Generator) -> Family:
    for found in generator.families():
        if found.name == name:
            return found
    raise HTTPException(404, f"There is no family {name!r}; /api/models lists them.")


async def pictures(opened: Round, generator: Generator, request: Request) -> Event:
    """The pictures and scores of a round."""
    wanted = GenerateRequest(models=[opened.left_model, opened.right_model], prompt=opened.prompt, seed=opened.seed)
    event = await unless_gone(request, await generator.submit(wanted, previews=False))
    if event.kind == "error":
        raise HTTPException(500, event.data["detail"])
    return event


@router.post("/arena/rounds/{round}/vote", responses=REFUSED)
def vote(round: str, given: VoteRequest, request: Request) -> Revealed:
    """Give the one vote of a round; the answer says whose the pictures are."""
    votes: Votes = request.app.state.votes
    try:
        found = votes.vote(round, given.choice)
    except KeyError:
        raise HTTPException(404, "There is no such round.") from None
    return Revealed(
        left=Side(id=found.left_model, label=arena.label(found.left_entry), scores=found.scores["left"]),
        right=Side(id=found.right_model, label=arena.label(found.right_entry), scores=found.scores["right"]),
    )


@router.get("/ratings", responses={409: REFUSED[409]})
def ratings(request: Request) -> Ratings:
    """What the votes say of the models, and whether the judges agree with them."""
    votes: Votes = request.app.state.votes
    return Ratings(families=[rated_family(found) for found in standings(votes.voted())])


def rated_family(found: Standings) -> RatedFamily:
    entries = [
        RatedEntry(
            id=entry.name, label=arena.label(entry.name), rating=entry.rating.value, low=entry.rating.low,
            high=entry.rating.high, votes=entry.votes, rewards=entry.rewards,
        )
        for entry in found.entries
    ]  # fmt: skip
    votes = sum(entry.votes for entry in entries) // 2
    return RatedFamily(family=found.family, votes=votes, entries=entries, judges=found.judges)
