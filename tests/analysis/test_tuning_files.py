"""Which records of a search belong to the present plan."""

from __future__ import annotations

from pathlib import Path

from fabricate import fabricate_suite
from fabricate_tuning import fabricate_tuning

from ddpo_bench.analysis.tuning_files import read_studies
from ddpo_bench.checksummed import write_checksummed_yaml


def test_a_search_of_an_earlier_plan_is_left_out(tmp_path: Path) -> None:
    suite = fabricate_suite(tmp_path / "algos", ("frozen", "ppo", "sac"))
    fabricate_tuning(suite)
    every = read_studies(suite)
    kept, *dropped = every
    cells = [{"name": kept.cell, "hash": winner, "varied": {}} for winner in kept.winners]
    write_checksummed_yaml(suite / "suite.yaml", {"name": "algos", "cells": cells, "seeds": [0, 1, 2]})
    assert dropped
    assert read_studies(suite) == [kept]
