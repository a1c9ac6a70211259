from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tuning_suites import suite_data

from ddpo_bench.sweep.suite import Suite, load_suite


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Suite]:
    """A loaded suite, of `suite_data` with other keys in its `tune:` block."""

    def load(**tune: Any) -> Suite:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(suite_data(**tune)))
        return load_suite(path)

    return load
