"""The gallery's addresses: the same numbers as `ddpo-bench table`, every run whatever became of it, nothing written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import anyio
import httpx
import pytest
from analysis.fabricate import fabricate_run, fabricate_suite, plan, rows_of, update, write_rows

from ddpo_bench.analysis.tabulate import tabulate
from ddpo_bench.run_folder.places import cell_of
from ddpo_bench.serve.app import create_app
from ddpo_bench.serve.folders import runs
from ddpo_bench.serve.settings import Settings


class Client:
    """Asks an application without a server."""

    def __init__(self, *folders: Path):
        self.app = create_app(Settings(folders, votes=folders[0] / "votes.sqlite"))

    def response(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get(path)

        return anyio.run(ask)

    def json(self, path: str) -> Any:
        response = self.response(path)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two suites: one with a failed run and one that waits, one of which only the table is left."""
    root = tmp_path_factory.mktemp("gallery") / "results"
    suite = fabricate_suite(root / "algos", ("frozen", "ppo"), seeds=2)
    fabricate_run(suite, "sac", "target_colour", 0, state="failed")
    plan(suite, seeds=2)
    table, kept = tabulate(suite), root / "kept"
    (kept / "plots").mkdir(parents=True)
    (kept / "table.csv").write_text(table.to_csv())
    (kept / "table.md").write_text(table.to_markdown())
    copy(next(suite.glob("runs/*/*/samples/*.png")), kept / "plots" / "learning-curves.png")
    return root


def ids(folder: Path) -> dict[str, str]:
    """Ids of runs by cell and seed, without the hash."""
    found = {}
    for name, run in runs([folder]).items():
        found[f"{cell_of(run)}/{run.name}"] = name
    return found


def files_in(folder: Path) -> Iterator[tuple[str, int]]:
    return ((str(path), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")))


def test_the_table_is_that_of_the_command_and_leads_to_its_runs(results: Path) -> None:
    before = list(files_in(results))
    view = Client(results).json("/api/suites/algos")
    table = tabulate(results / "algos")
    assert [column["label"] for column in view["columns"]] == [column.heading for column in table.columns]
    assert [[line["cells"][column.key]["text"] for column in table.columns] for line in view["rows"]] == [
        [table.cell(row, column) for column in table.columns] for row in table.rows
    ]
    assert view["notes"] == list(table.notes)
    assert view["rows"][1]["runs"] == [ids(results)[f"ppo-jpeg_compressibility/seed-{seed}"] for seed in (0, 1)]
    assert view["problem"] is None
    assert list(files_in(results)) == before


def test_the_list_counts_what_became_of_the_runs(results: Path) -> None:
    listed = {suite["name"]: suite for suite in Client(results).json("/api/suites")}
    assert listed.keys() == {"algos", "kept"}
    counts = {key: listed["algos"][key] for key in ("done", "running", "failed", "total")}
    assert counts == {"done": 8, "running": 0, "failed": 1, "total": 10}  # and one that the plan holds, without folder


def test_results_without_runs_show_their_table_and_plots(results: Path) -> None:
    client = Client(results)
    kept, live = client.json("/api/suites/kept"), client.json("/api/suites/algos")
    assert kept["columns"] == live["columns"]
    texts = [
        [{key: cell["text"] for key, cell in line["cells"].items()} for line in view["rows"]] for view in (kept, live)
    ]
    assert texts[0] == texts[1]
    assert [line["cells"]["final"]["mark"] for line in kept["rows"]] == [
        line["cells"]["final"]["mark"] for line in live["rows"]
    ]
    assert kept["notes"] == live["notes"]
    assert kept["runs"] == []
    (picture,) = kept["pictures"]
    assert picture["name"] == "learning-curves"
    assert client.response(f"/{picture['url']}").content.startswith(b"\x89PNG")


def test_a_run_has_its_curve_its_judges_its_pictures_and_its_configuration(results: Path) -> None:
    client = Client(results)
    run = client.json(f"/api/runs/{ids(results)['ppo-target_colour/seed-1']}")
    folder = next(results.glob("algos/runs/ppo-target_colour-*/seed-1"))
    rows = rows_of(folder)
    assert [point["epoch"] for point in run["curve"]] == list(range(7))
    assert run["curve"][3]["reward_mean"] == rows[3]["reward_mean"]
    assert run["curve"][0]["eval"] == {name: rows[0][f"eval/{name}"] for name in run["judges"]}
    assert run["curve"][6]["kl_reference_nats"] == rows[7]["eval/kl_reference_nats"]
    assert run["judges"] == ["jpeg_compressibility", "target_colour"]
    assert (run["summary"]["status"], run["summary"]["epoch"], run["summary"]["epochs"]) == ("done", 6, 6)
    assert "name: ppo" in run["config"]
    assert [grid["epoch"] for grid in run["samples"]["grids"]] == [0, 6]
    assert len(run["samples"]["prompts"]) == 16
    sent = client.response(f"/{run['samples']['grids'][1]['url']}").content
    assert sent == (folder / "samples" / "epoch-0006.png").read_bytes()


def test_a_failure_is_shown_with_its_reason_and_a_damaged_run_hides_no_other(tmp_path: Path) -> None:
    suite = fabricate_suite(tmp_path / "results" / "algos", ("frozen", "ppo"), seeds=1)
    fabricate_run(suite, "sac", "target_colour", 0, state="failed")
    broken = next(suite.glob("runs/ppo-target_colour-*/seed-0"))
    (broken / "metrics.jsonl").write_text("{nonsense\n")
    client = Client(suite)
    names = ids(suite)
    found = {run["id"]: run for run in client.json("/api/runs")}
    found = {name: found[id] for name, id in names.items()}
    assert found["sac-target_colour/seed-0"]["reason"] == "the reward returned NaN\nat epoch 3"
    assert found["ppo-target_colour/seed-0"]["status"] == "damaged"
    assert "metrics.jsonl, line 1" in found["ppo-target_colour/seed-0"]["reason"]
    assert found["frozen-target_colour/seed-0"]["status"] == "done"
    assert "metrics.jsonl, line 1" in client.json("/api/suites/algos")["problem"]
    refused = client.response(f"/api/runs/{names['ppo-target_colour/seed-0']}")
    assert (refused.status_code, "is damaged" in refused.json()["detail"]) == (409, True)


def test_a_run_whose_process_is_gone_is_killed_and_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    suite = fabricate_suite(tmp_path / "results" / "algos", ("frozen",), seeds=1)
    run = next(suite.glob("runs/frozen-target_colour-*/seed-0"))
    write_rows(run, [row | {"reward_mean": float("nan")} if "queries" in row else row for row in rows_of(run)])
    update(run, "status.json", state="running", pid=2**22 + 1)
    client = Client(suite)
    view = client.json(f"/api/runs/{ids(suite)['frozen-target_colour/seed-0']}")
    assert view["summary"]["status"] == "killed"
    assert "resumes from its checkpoint" in view["summary"]["reason"]
    assert view["curve"][1]["reward_mean"] is None


def test_what_has_changed_is_read_again(tmp_path: Path) -> None:
    suite = fabricate_suite(tmp_path / "results" / "algos", ("frozen",), seeds=2)
    client = Client(tmp_path / "results")
    assert client.json("/api/suites/algos")["rows"][0]["cells"]["n"]["text"] == "2"
    update(next(suite.glob("runs/frozen-jpeg*/seed-1")), "status.json", state="failed", reason="out of memory")
    view = client.json("/api/suites/algos")
    assert view["rows"][0]["cells"]["n"]["text"] == "1"
    assert any("out of memory" in note for note in view["notes"])


def test_nothing_outside_the_folders_can_be_named(results: Path) -> None:
    client, run = Client(results), ids(results)["ppo-target_colour/seed-1"]
    for path in (
        "/api/suites/..", "/api/suites/%2e%2e", "/api/suites/algos/plots/..%2ftable.csv", "/api/suites/nothing",
        "/api/suites/kept/plots/..%2f..%2fkept%2ftable.csv", "/api/runs/algos/..%2f..%2fkept/seed-0",
        f"/api/runs/{run}/samples/index.json", f"/api/runs/{run}9",
        f"/api/runs/{run}/samples/..%2f..%2fconfig.yaml",
        f"/api/runs/{run}/samples/epoch-9999.png",
    ):  # fmt: skip
        refused = client.response(path)
        assert refused.status_code == 404, path
        assert isinstance(json.loads(refused.text)["detail"], str)


def test_no_results_are_an_empty_list(tmp_path: Path) -> None:
    assert Client(tmp_path).json("/api/suites") == []


@pytest.mark.parametrize("name", ["algos", "algos-all", "algos-tuned", "differentiable", "kinds"])
def test_the_committed_tables_are_read(name: str) -> None:
    results = Path(__file__).parents[2] / "results"
    view = Client(results).json(f"/api/suites/{name}")
    with (results / name / "table.csv").open() as file:
        assert len(view["rows"]) == len(list(csv.DictReader(file)))
    markdown = (results / name / "table.md").read_text()
    for line in view["rows"]:
        assert line["cells"]["final"]["text"].removesuffix(" ≈") in markdown
    assert view["problem"] is None
