"""`/api/models`: what can be chosen."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ddpo_bench.policies.latent_size import vae_factor
from ddpo_bench.policies.stored_pipeline import StoredPipeline
from ddpo_bench.reward_bases.judges import shipped_judges
from ddpo_bench.serve.generator import Generator
from ddpo_bench.serve.models import Family, ServedModel, example_prompts

router = APIRouter(prefix="/api", tags=["models"])


class ModelOut(BaseModel):
    """A model; `kind` is pretrained, run or lora."""

    id: str
    label: str
    kind: str
    suite: str
    algorithm: str
    reward: str
    seed: int | None
    loaded: bool


class Defaults(BaseModel):
    """Settings of the family's first model; null where it has no such setting."""

    steps: int
    guidance_scale: float | None
    eta: float | None
    sampler: str
    height: int | None
    width: int | None


class FamilyOut(BaseModel):
    """Models that can draw from the same noise."""

    family: str
    base: str
    models: list[ModelOut]
    defaults: Defaults
    judges: list[str]
    example_prompts: list[str]


class Models(BaseModel):
    """All that can be chosen."""

    families: list[FamilyOut]


@router.get("/models")
def models(request: Request) -> Models:
    """The models that can be compared, by family."""
    generator: Generator = request.app.state.generator
    names = sorted(shipped_judges([]))
    return Models(families=[told(family, generator, names) for family in generator.families()])


def told(family: Family, generator: Generator, judges: list[str]) -> FamilyOut:
    return FamilyOut(
        family=family.name,
        base=family.base,
        models=[shown(model, model in generator.loaded) for model in family.models],
        defaults=defaults(family),
        judges=judges,
        example_prompts=example_prompts(family),
    )


def shown(model: ServedModel, loaded: bool) -> ModelOut:
    return ModelOut(
        id=model.id, label=model.label, kind=model.kind, suite=model.suite, algorithm=model.algorithm,
        reward=model.reward, seed=model.seed, loaded=loaded,
    )  # fmt: skip


def defaults(family: Family) -> Defaults:
    policy, sampler = family.config.policy, family.config.sampler
    height, width = size(policy.build())
    return Defaults(
        steps=sampler.options["steps"],
        guidance_scale=policy.options.get("guidance_scale"),
        eta=sampler.options.get("eta"),
        sampler=sampler.name,
        height=height,
        width=width,
    )


def size(policy: object) -> tuple[int | None, int | None]:
    """Height and width of the pictures; None where they are not known before the model is loaded."""
    configs = policy.configs() if isinstance(policy, StoredPipeline) else None
    if configs is None:
        return None, None
    assert isinstance(policy, StoredPipeline)
    _, height, width = policy.latent_shape_of(configs)
    factor = vae_factor(configs["vae"])
    return height * factor, width * factor
