"""The gallery and the blind vote in a real browser, with the mouse and with the keyboard alone, while a run changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opened_pages import Open

from ddpo_bench.serve.folders import runs
from ddpo_bench.serve.votes import FILE, Votes

pytestmark = pytest.mark.long
PHONE = {"width": 390, "height": 844}


def test_a_row_leads_to_its_runs_and_a_run_to_its_pictures(opened: Open) -> None:
    page = opened("index.html#tiny")
    page.wait_for_selector("table.results")
    page.click("table.results tbody a >> nth=0")
    page.wait_for_selector(".chosen .chart svg")
    page.click(".chosen .inline a")
    page.wait_for_selector(".tiles .picture")
    assert page.locator(".charts .chart").count() > 2
    slider = page.locator("#epoch-slider")
    slider.focus()
    slider.press("Home")
    assert page.locator(".scrub output").inner_text() == "0, the pretrained model"
    assert "epoch-0000.png" in page.locator(".tiles .picture").first.get_attribute("style")
    page.locator(".tile").first.press("Enter")
    assert page.locator(".film li").count() == int(slider.get_attribute("max")) + 1
    page.click("summary")
    assert "name: ppo" in page.locator("details pre").inner_text()


def test_the_table_sorts_and_filters_by_keyboard(opened: Open) -> None:
    page = opened("index.html#tiny")
    heading = page.locator("th", has_text="final reward").first
    page.wait_for_selector("table.results")
    in_order = page.locator("table.results tbody th").all_inner_texts()
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    highest_first = page.locator("table.results tbody th").all_inner_texts()
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert page.locator("table.results tbody th").all_inner_texts() == highest_first[::-1]
    page.fill("#filter", "nothing of that name")
    assert "No row holds" in page.locator("#main").inner_text()
    page.fill("#filter", "")
    heading.locator("button").press("Enter")
    assert page.locator("table.results tbody th").all_inner_texts() == in_order


def test_a_failure_arrives_with_its_reason_while_one_looks(opened: Open, results_folder: Path) -> None:
    page = opened("index.html#tiny", viewport=PHONE)
    page.wait_for_selector(".live.on")
    status = next(iter(runs([results_folder]).values())) / "status.json"
    before = status.read_text()
    held = {key: value for key, value in json.loads(before).items() if key != "crc32"}
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        status.write_text(json.dumps({**held, "state": "failed", "reason": "the reward is not finite <b>anywhere</b>"}))
        page.wait_for_selector(".runs .reason")
        assert "not finite <b>anywhere</b>" in page.locator(".runs .reason").inner_text()  # and is never markup
        assert len(asked) <= 3  # the list, the suite: once for the change, and nothing is polled
    finally:
        status.write_text(before)
    page.wait_for_selector(".runs .reason", state="detached")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_vote_by_keyboard_is_kept_and_reveals_the_models(opened: Open, results_folder: Path) -> None:
    page = opened("arena.html")
    page.wait_for_selector("[data-choice=left]:not([disabled])")
    shown = page.locator("#main").inner_text()
    assert "tiny" not in shown
    assert page.locator("#left").evaluate("each => each.naturalWidth") == 64
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#after:not([hidden])")
    vote = Votes(results_folder.parent / FILE).voted()[-1]
    assert vote.choice == "left"
    assert page.locator("#left-side strong").inner_text() in ("pretrained", "full (tiny)", "lora (tiny)")
    page.wait_for_selector("#standings table")
    assert page.locator("#standings h2").first.inner_text().startswith("Ratings after")
    page.keyboard.press("Enter")  # the button of the next pair has the focus
    page.wait_for_selector("[data-choice=left]:not([disabled])")
    assert page.locator("#left-side strong").count() == 0


def test_no_results_say_which_command_makes_some(opened: Open) -> None:
    page = opened("compare.html")
    page.route("**/api/suites", lambda route: route.fulfill(json=[]))
    page.click("nav >> text=Results")
    page.wait_for_selector("h1:has-text('No results yet')")
    assert page.locator("main code").inner_text() == "ddpo-bench run smoke"
