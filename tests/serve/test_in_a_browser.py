"""The pages in a real browser, with a real server of two tiny runs: at a desk, on a phone, and with the keyboard alone.

The last one makes the pictures of docs/serve.md, which says how.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from opened_pages import DESK, PATIENCE, Open
from PIL import Image
from server_process import serving

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = pytest.mark.long

PHONE = {"width": 390, "height": 844}
FIRST_PICTURE = 3.0  # seconds after the click, on a machine that does nothing else
SLACK = 10  # this machine may do a lot else
PAGES = ["index.html", "index.html#{run}", "compare.html", "arena.html", "docs"]
REMEMBER_STEPS = """() => {
  window.said = [];
  const progress = document.getElementById("progress");
  new MutationObserver(() => said.push(progress.textContent)).observe(progress, {childList: true});
}"""
PICTURES = "() => [...document.querySelectorAll('figure.drawn canvas')].map(canvas => canvas.toDataURL())"
FORM = "() => [...document.querySelectorAll('#settings :is(input, textarea)')].map(each => [each.value, each.checked])"


def choose_all(page: Any) -> None:
    for box in page.locator("#models input:not(:disabled)").all():
        box.check()


def generate(page: Any, steps: int = 4) -> None:
    page.fill("#steps", str(steps))
    page.click("#generate")
    page.wait_for_selector("#legend:not([hidden])")


def test_pictures_arrive_step_by_step_and_can_be_compared(
    opened: Open, record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    page = opened("compare.html", permissions=["clipboard-read", "clipboard-write"])
    choose_all(page)
    page.evaluate(REMEMBER_STEPS)
    page.fill("#prompt", "a red car")
    page.fill("#steps", "6")
    clicked = time.perf_counter()
    page.click("#generate")
    page.wait_for_selector("figure.drawn")
    first = time.perf_counter() - clicked
    record_property("seconds to the first picture", first)
    print(f"the first picture came {first:.2f} s after the click")
    assert first < FIRST_PICTURE * SLACK
    page.wait_for_selector("#legend:not([hidden])")

    said = page.evaluate("said")
    steps = [line.split(" · ")[0] for line in said if line.startswith("Step")]
    assert steps == sorted(set(steps))
    assert len(steps) >= 4  # of 6: a slow reader gets the newest
    assert page.locator("figure").count() == 3
    assert page.locator("figure").nth(0).inner_text().startswith("pretrained")
    final = page.evaluate(PICTURES)
    assert len(set(final)) == 3
    assert page.locator("figure").nth(1).locator(".score").count() >= 2
    assert page.locator(".score .star").count() >= 2  # the JPEG sizes differ
    assert page.locator(".trained >> visible=true").count() == 2 + 1  # the two runs', and the legend's

    page.fill("#step", "1")
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=final[0])
    assert page.inner_text("#progress").startswith("Step 1 of 6")
    page.fill("#step", "7")
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() === before", arg=final[0])

    page.check("#difference")
    page.wait_for_function("before => document.querySelectorAll('canvas')[1].toDataURL() !== before", arg=final[1])
    assert "difference from pretrained ×4" in page.inner_text("#caption")
    assert page.evaluate(PICTURES)[0] == final[0]
    page.uncheck("#difference")

    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width > 3 * 200

    page.click("#commands summary")
    page.click("#command-list button >> nth=1")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("ddpo-bench sample --run ")
    assert "a red car" in copied
    page.click("#share")
    page.wait_for_function("() => document.getElementById('share').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.evaluate("location.href")


def test_a_link_opens_the_same_comparison(opened: Open, server: str) -> None:
    page = opened("compare.html")
    choose_all(page)
    page.uncheck("#models input:not(:disabled) >> nth=0")
    page.fill("#prompt", "two birds & a <b>fish</b>")
    page.fill("#seed", "41")
    page.click("#dice")
    page.fill("#eta", "0.5")
    other = opened(page.evaluate("location.href").removeprefix(server))
    assert page.evaluate(FORM) == other.evaluate(FORM)
    assert other.locator("figure").count() == 2


def test_a_generation_can_be_cancelled_and_the_next_one_follows(opened: Open) -> None:
    page = opened("compare.html")
    page.fill("#steps", "200")
    page.click("#generate")
    page.wait_for_selector("figure.drawn")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('Cancelled after')")
    assert page.evaluate("document.activeElement.id") == "generate"
    generate(page, 2)
    assert page.inner_text("#progress").startswith("Final pictures")


@pytest.mark.parametrize(
    ("status", "detail", "told"),
    [
        (503, "the queue is full", "Try again in about 7 seconds"),
        (422, "steps: at most 200", "Change it, then try again"),
    ],
)
def test_what_went_wrong_is_told_in_words(opened: Open, status: int, detail: str, told: str) -> None:
    page = opened("compare.html", tolerated="Failed to load resource")
    answer = json.dumps({"detail": detail})
    page.route("**/api/generate", lambda route: route.fulfill(status=status, headers={"Retry-After": "7"}, body=answer))
    page.click("#generate")
    page.wait_for_selector("#problem:not([hidden])")
    assert detail in page.inner_text("#problem")
    assert told in page.inner_text("#problem")
    assert page.locator("#generate").is_visible()


def test_the_keyboard_alone_is_enough(opened: Open) -> None:
    page = opened("compare.html", reduced_motion="reduce")
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(40):
            press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"Tab never reached {name}")

    tab_to("prompt")
    press("ControlOrMeta+A")
    page.keyboard.type("a blue fish")
    tab_to("steps")
    press("ControlOrMeta+A")
    page.keyboard.type("3")
    tab_to("search")
    page.keyboard.type("lora")
    before = page.locator("figure").count()
    press("ArrowDown")
    press("Space")
    assert page.locator("figure").count() != before
    press("Space")
    press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "search"
    page.focus("#prompt")
    press("Enter")
    page.wait_for_selector("#legend:not([hidden])")
    tab_to("step")
    press("ArrowLeft")
    assert page.inner_text("#progress").startswith("Step 3 of 3")
    press("Home")
    assert page.inner_text("#progress").startswith("Step 1 of 3")
    tab_to("difference")
    press("Space")
    assert "difference" in page.inner_text("#caption")
    assert page.inner_text("#announcements").startswith("Finished")


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_phone_and_everybody_can_read_them(opened: Open, results_folder: Path, path: str) -> None:
    run = min(results_folder.glob("runs/*"))
    page = opened(path.format(run=f"tiny/{run.name}/seed-0"), PHONE, device_scale_factor=2, has_touch=True)
    if path == "compare.html":
        page.click("#picker summary")
        generate(page)
        page.click("#commands summary")
    page.wait_for_function("() => document.querySelector('main :is(h1, h2)')")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.set_viewport_size(DESK)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(page).response["violations"]
        assert [f"{each['id']}: {[node['html'][:120] for node in each['nodes'][:3]]}" for each in found] == []


def test_screenshots_of_the_guide(opened: Open, browser: Any, server: str, tmp_path: Path) -> None:
    """Writes docs/serve.md's pictures where SERVE_SCREENSHOTS says, of the results folder that SERVE_RESULTS names."""
    folder = Path(os.environ.get("SERVE_SCREENSHOTS", tmp_path))
    results = os.environ.get("SERVE_RESULTS")
    with serving(results) if results else nullcontext(server) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 800})
        page.set_default_timeout(PATIENCE)
        page.goto(address + "compare.html")
        page.wait_for_selector("#generate:enabled")
        if page.locator("#family option").count() > 1:
            page.select_option("#family", label="embedded")
        page.fill("#seed", "3")
        generate(page, 10)
        page.screenshot(path=folder / "serve-compare.png")
        page.goto(address + "index.html")
        page.wait_for_selector("tbody tr")
        page.screenshot(path=folder / "serve-results.png")
        page.close()
    for name in ("serve-compare.png", "serve-results.png"):
        with Image.open(folder / name) as picture:
            smaller = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        smaller.save(folder / name, optimize=True)
        assert (folder / name).stat().st_size < 150_000
