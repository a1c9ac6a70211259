"""A pytest plugin: writes every test's outcome at once, and runs one of several equal shares of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cuda", "cpu"), help="where the checks must run")
    parser.addoption("--share", type=int, nargs=2, default=(0, 1), metavar=("K", "N"), help="tests k, k + n, ... alone")
    parser.addoption("--record", type=Path, help="file of JSON lines")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    first, stride = config.getoption("--share")
    items[:] = items[first::stride]
    append(config, {"collected": len(items)})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = (yield).get_result()
    if report.when == "call" or report.outcome != "passed":
        message = "" if report.passed else str(getattr(report.longrepr, "reprcrash", None) or report.longrepr)
        row = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3)}
        append(item.config, row | {"message": message[:500]})


def append(config: pytest.Config, row: dict[str, Any]) -> None:
    if path := config.getoption("--record"):
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
