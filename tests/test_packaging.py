"""What an installed package holds."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_installed():
    roots = (ROOT, ROOT / "kernels")
    found = {init.parent.relative_to(root) for root in roots for init in root.glob("ddpo_*/**/__init__.py")}
    names = {".".join(path.parts) for path in found}
    assert set(SETUPTOOLS["packages"]) == names | {"ddpo_bench.suites"}


def test_the_shipped_suites_are_the_checkouts_own():
    assert SETUPTOOLS["package-dir"]["ddpo_bench.suites"] == "suites"
    assert not (ROOT / "ddpo_bench" / "suites").exists()


def test_kernels_is_no_top_level_module():
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert "kernels" not in SETUPTOOLS["packages"]


def test_the_templates_of_the_report_are_installed():
    assert list((ROOT / "ddpo_bench/analysis/report").glob("*.html.j2"))
    assert "*.j2" in SETUPTOOLS["package-data"]["ddpo_bench.analysis.report"]
