"""A fabricated suite: frozen, ppo and trpo_penalty on two rewards over three seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import fabricate_suite


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return fabricate_suite(tmp_path / "results" / "algos")
