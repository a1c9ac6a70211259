"""What each prompt function says, and over which words."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpo_bench.config import ConfigError, run_config
from ddpo_bench.embedded.scenes import caption, parse_caption
from ddpo_bench.held_out import is_held_out
from ddpo_bench.prompts.words import shipped_words
from ddpo_bench.registry import get

WORD_LISTS = [Path(file.name).stem for file in resources.files("ddpo_bench.prompts").joinpath("words").iterdir()]


def drawn(name: str, count: int, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    prompts, rng = get("prompts", name)(**options), np.random.default_rng(0)
    return [prompts(rng) for _ in range(count)]


@pytest.mark.parametrize("name", WORD_LISTS)
def test_shipped_word_lists_have_no_duplicates_blanks_or_comments(name: str) -> None:
    words = shipped_words(name)
    assert words
    assert len({word.lower() for word in words}) == len(words)
    assert all(word == word.strip() and word and "#" not in word for word in words)


def test_imagenet_classes_are_in_their_standard_order() -> None:
    words = shipped_words("imagenet")
    known = {
        **{0: "tench", 99: "goose", 207: "golden retriever", 292: "tiger", 388: "giant panda", 404: "airliner"},
        **{555: "fire engine", 659: "mixing bowl", 762: "restaurant", 817: "sports car", 909: "wok"},
    }
    assert len(words) == 1000
    assert {index: words[index] for index in known} == known


@pytest.mark.parametrize(
    ("name", "size", "first", "last"),
    [
        ("imagenet_all", 1000, "tench", "toilet tissue"),
        ("imagenet_animals", 398, "tench", "puffer"),
        ("imagenet_dogs", 118, "Chihuahua", "Mexican hairless"),
    ],
)
def test_imagenet_prompts_reach_every_class_of_their_range(name: str, size: int, first: str, last: str) -> None:
    words = shipped_words("imagenet")
    expected = words[words.index(first) : words.index(last) + 1]
    assert len(expected) == size
    assert {prompt for prompt, _ in drawn(name, 20 * size)} == set(expected)


def test_simple_animals_are_45_with_articles() -> None:
    prompts = {prompt for prompt, _ in drawn("simple_animals", 1000)}
    assert len(prompts) == 45
    assert {"a dog", "an ant", "a sheep"} <= prompts


def test_patterned_animals_name_animal_colour_and_pattern() -> None:
    prompts = [prompt for prompt, _ in drawn("patterned_animals", 2000)]
    scenes = [parse_caption(prompt) for prompt in prompts]
    assert all(scene and scene.colour and scene.pattern != "plain" for scene in scenes)
    assert len({(scene.nouns, scene.colour, scene.pattern) for scene in scenes if scene}) == len(set(prompts)) > 900
    assert {scene.pattern for scene in scenes if scene} == {"striped", "dotted", "checkered"}
    assert "a dog on a blue striped background" in prompts


def test_nouns_activities_pairs_every_animal_with_every_activity() -> None:
    prompts = {prompt for prompt, _ in drawn("nouns_activities", 2000)}
    assert len(prompts) == 45 * 3
    assert {"a dog riding a bike", "an ant playing chess", "a fish washing the dishes"} <= prompts


def test_nouns_and_activities_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "nouns.txt").write_text("owl\nIrish setter\n")
    (tmp_path / "acts.txt").write_text("reading\n")
    options = {"nouns": str(tmp_path / "nouns.txt"), "activities": str(tmp_path / "acts.txt")}
    prompts = {prompt for prompt, _ in drawn("nouns_activities", 50, **options)}
    assert prompts == {"an owl reading", "an Irish setter reading"}
    assert {m["noun"] for _, m in drawn("counting", 50, nouns=options["nouns"])} == {"owl", "Irish setter"}


def test_counting_covers_its_range_evenly_and_agrees_with_its_metadata() -> None:
    draws = drawn("counting", 3000, low=1, high=5)
    counts = Counter(metadata["count"] for _, metadata in draws)
    assert set(counts) == {1, 2, 3, 4, 5}
    assert min(counts.values()) > 500  # 600 expected, standard deviation 22
    words = dict(zip(("one", "two", "three", "four", "five"), range(1, 6), strict=True))
    assert all(words[prompt.split()[0]] == metadata["count"] for prompt, metadata in draws)
    prompts = {prompt for prompt, _ in draws}
    assert {"one mouse", "three mice", "two sheep", "five foxes"} <= prompts


@pytest.mark.parametrize("limits", [{"low": 0}, {"low": 5}, {"high": 13}, {"low": 3, "high": 2}])
def test_counting_refuses_an_impossible_range(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"prompts(\.low|\.high|: low): must be at (most|least) .*, got \d+\.$"):
        run_config({"prompts": {"name": "counting", **limits}}, "test")


def test_emoji_scenes_are_captions_of_which_two_fifths_leave_the_background_open() -> None:
    prompts = [prompt for prompt, _ in drawn("emoji_scenes", 2000)]
    assert all(caption(parse_caption(prompt)) == prompt for prompt in prompts)
    plain = sum("background" not in prompt for prompt in prompts) / len(prompts)
    assert 0.36 < plain < 0.44  # standard deviation 0.011


def test_the_docs_count_the_held_out_prompts() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
    names, _, counts = docs[docs.index("| `simple_animals` | `nouns") :].splitlines()[:3]
    for name, count in zip(names.strip("| ").split(" | "), counts.strip("| ").split(" | "), strict=True):
        prompts = {prompt for prompt, _ in drawn(name.strip("`"), 12_000)}
        assert f"{sum(map(is_held_out, prompts))} of {len(prompts)}" == count
