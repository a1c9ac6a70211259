"""Pages of docs that add plugins, followed to the letter: installed, listed, validated, trained with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_pipelines
from every_plugin import MADE_UP
from followed_page import Page
from run_rows import rows_of

from ddpo_bench import registry

PLUGINS = Page("plugins.md", "my_plugins")
ALGORITHMS = Page("algorithms/adding.md", "my_algorithms")
SAMPLERS = Page("samplers.md", "my_samplers")
POLICIES = Page("policies.md", "my_policies")
PAGES = [PLUGINS, ALGORITHMS, SAMPLERS, POLICIES]


@pytest.fixture(params=PAGES, ids=lambda page: page.package)
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    if request.param is POLICIES:
        tiny_pipelines.build("aura_flow", tmp_path / "my-aura-flow")
    with request.param.installed(tmp_path, monkeypatch):
        yield request.param


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.package)
def test_its_files_are_those_that_the_contract_tests_cover(page: Page) -> None:
    assert page.modules
    for name, code in page.modules.items():
        assert code == (MADE_UP / name).read_text(encoding="utf-8"), f"copy tests/plugins/{name} into the page"


def test_its_entry_points_are_found_and_its_commands_work(page: Page, tmp_path: Path) -> None:
    for group, named in page.entry_points.items():
        assert named.keys() <= set(registry.names(group.removeprefix("ddpo_bench.")))
    page.run()
    trained = [command[command.index("--out") + 1] for command in page.commands if command[0] == "train"]
    assert trained or page is SAMPLERS  # for which no model of flow matching comes with the package
    for folder in trained:
        assert any(row.get("queries") for row in rows_of(tmp_path / folder))


def test_the_plugins_of_one_page_are_of_every_kind_and_of_the_other_of_two_families() -> None:
    assert PLUGINS.entry_points.keys() == {f"ddpo_bench.{kind}" for kind in registry.FOLDERS}
    assert {registry.get("algorithm", name).needs for name in ("spo", "raft")} == {"transitions", "x_0"}
