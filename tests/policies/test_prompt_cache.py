"""Each prompt is embedded once, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ddpo_bench.policies.prompt_cache import PromptCache, size
from ddpo_bench.policies.stable_diffusion import StableDiffusion
from ddpo_bench.protocols import Conditioning


def test_a_prompt_is_embedded_once_and_the_longest_unused_are_dropped() -> None:
    embedded: list[str] = []

    def embed(prompt: str) -> Conditioning:
        embedded.append(prompt)
        number = torch.tensor([[float(len(prompt))]])
        return Conditioning({"text": number}, number)

    cache = PromptCache(embed, str.lower, limit=2 * size(embed("one")))
    embedded.clear()
    assert cache(["a", "bb", "A", "bb"]).pooled.flatten().tolist() == [1, 2, 1, 2]
    assert embedded == ["a", "bb"]
    assert cache(["A"]).tensors["text"].tolist() == [[1]]
    assert cache(["ccc", "bb", "a"]).pooled.flatten().tolist() == [3, 2, 1]
    assert embedded == ["a", "bb", "ccc"]
    assert list(cache.kept) == ["bb", "a"]
    cache(["ccc", "a"])
    assert embedded == ["a", "bb", "ccc", "ccc"]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_embeddings_are_those_of_the_pipeline_whoever_is_asked_for_with_them(tiny_model: Path, guidance: float) -> None:
    policy, prompts = StableDiffusion(str(tiny_model), guidance_scale=guidance), ["a dog", "two cats", "a dog"]
    policy.start(torch.device("cpu"), seed=0)
    made = policy.encode(prompts)
    for place, prompt in enumerate(prompts):
        fresh = StableDiffusion(str(tiny_model), guidance_scale=guidance)
        fresh.start(torch.device("cpu"), seed=0)
        alone, theirs = fresh.encode([prompt]), policy.pipeline.encode_prompt(prompt, "cpu", 1, guidance != 1.0)
        for name, expected in zip(["embeddings", "unconditional_embeddings"], theirs, strict=True):
            assert (name in made.tensors) == (expected is not None)
            if expected is not None:
                assert torch.equal(made.tensors[name][place : place + 1], alone.tensors[name])
                torch.testing.assert_close(alone.tensors[name], expected.to(policy.resolved_precision))
        assert torch.equal(made.pooled[place : place + 1], alone.pooled)
