"""Targets are judged by what the parts left, with figures that were counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.resume import difference
from benchmarks.gpu.targets import Verdict, judge

HEADER = "operation,implementation,latent,batch,dtype,us,p20,p80,graph_us,gb_per_s,share_of_copy,speed_up,error"
ALL = {"parity", "kernels", "throughput", "suite"}


def verdict(out: Path, words: str) -> Verdict:
    (found,) = [each for each in judge(out, ALL) if words in each.target]
    return found


def write_kernels(out: Path, *rows: str) -> None:
    (out / "kernels").mkdir()
    (out / "kernels" / "kernels.csv").write_text("\n".join([HEADER, *rows]) + "\n")


def test_nothing_is_met_or_missed_where_nothing_was_measured(tmp_path: Path) -> None:
    assert {found.word for found in judge(tmp_path, ALL)} == {"not measured"}
    write_kernels(tmp_path, "score,eager,sd15,8,bf16,90,80,95,,3,0.1,1,1e-6")  # as on a CPU: no graph, no Triton
    assert {found.word for found in judge(tmp_path, ALL)} == {"not measured"}
    write_kernels_again = "score,triton,sd15,8,bf16,9,8,10,5,3,0.1,1,1e-6"
    (tmp_path / "kernels" / "kernels.csv").write_text(f"{HEADER}\n{write_kernels_again}\n")
    assert {found.word for found in judge(tmp_path, set())} == {"not measured"}


def test_the_slowest_case_decides(tmp_path: Path) -> None:
    """200 us at 2,000 GB/s are 400 MB; 100 us are 200 MB, too few to count for bandwidth."""
    write_kernels(
        tmp_path,
        "score,triton,flux,256,bf16,210,1,1,200,2000,0.86,9,1e-6",
        "backward,triton,flux,256,bf16,210,1,1,200,2000,0.84,9,1e-6",
        "score,triton,sdxl,8,bf16,40,1,1,100,2000,0.3,9,1e-6",
        "score,compile,sdxl,8,bf16,36,1,1,150,1300,0.2,9,1e-6",
        "score,eager,sd15,8,bf16,90,1,1,50,1,0.1,1,1e-6",
        "score,triton,sd15,8,bf16,20,1,1,5,1,0.1,1,1e-6",
        "backward,eager,sd15,8,bf16,90,1,1,45,1,0.1,1,1e-6",
        "backward,triton,sd15,8,bf16,20,1,1,5,1,0.1,1,1e-6",
    )
    assert verdict(tmp_path, "copy bandwidth")[1:] == (False, "84.0 % (backward, flux, B = 256, bf16, the lowest of 2)")
    assert verdict(tmp_path, "8 times eager")[1:] == (True, "9.00x (backward, sd15, B = 8, bf16, the lowest of 2)")
    assert verdict(tmp_path, "compile`, in CUDA")[1:] == (True, "1.50x (score, sdxl, B = 8, bf16, the lowest of 1)")
    assert verdict(tmp_path, "compile`, launched")[1:] == (False, "0.90x (score, sdxl, B = 8, bf16, the lowest of 1)")


def test_the_best_setting_of_the_network_decides_and_a_cpus_does_not_count(tmp_path: Path) -> None:
    lines = [
        "loop,compile,precision,micro_batch,learning_mfu,speed_up",
        "ddpo-bench,none,bf16,8,0.31,2.5",
        "plain loop,none,bf16,8,0.99,",
        "ddpo-bench,regional,bf16,8,0.42,2.9",
        "ddpo-bench,none,bf16,64,,",
    ]
    for name in ("embedded", "eager"):
        assert verdict(tmp_path, "utilisation").word == "not measured"
        folder = tmp_path / "throughput" / name / "a-gpu"
        folder.mkdir(parents=True)
        (folder / "sd15-sd15.csv").write_text("\n".join(lines) + "\n")
    assert verdict(tmp_path, "utilisation")[1:] == (True, "42.0 % (micro-batch 8, bf16, compiled, the best of 2)")
    assert verdict(tmp_path, "plain loop")[1:] == (False, "2.90x (micro-batch 8, bf16, compiled, the best of 2)")


def test_tests_that_time_did_not_reach_are_counted(tmp_path: Path) -> None:
    (tmp_path / "parity").mkdir()
    rows = [{"collected": 3}, {"test": "x", "outcome": "passed"}, {"test": "y_never_waits", "outcome": "passed"}]
    path = tmp_path / "parity" / "checks-0.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert verdict(tmp_path, "Parity")[1:] == (False, "2 of 3 passed, 1 not run")
    assert verdict(tmp_path, "host synchronisation")[1:] == (True, "1 of 1 passed")
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"test": "z", "outcome": "failed"}]))
    assert verdict(tmp_path, "Parity")[1:] == (False, "2 of 3 passed, 1 failed")


@pytest.mark.parametrize(("deviation", "word"), [(0.0, "met"), (1e-7, "**missed**")])
def test_a_ratio_must_be_exactly_one_where_batches_agree(tmp_path: Path, deviation: float, word: str) -> None:
    (tmp_path / "suite").mkdir()
    one = {"complete": True, "done": 4, "seconds": 9, "workers": 2, "ratio_rows": 8}
    ways = {
        "default": {"rows": 2, "difference": "row 2, loss: 1, not 2"},
        "deterministic": {"rows": 5, "difference": None},
    }
    found = {"smoke": one | {"ratio_deviation_max": {"ppo": deviation, "sac": 2e-7}}, "resume": {"ways": ways}}
    (tmp_path / "suite" / "suite.json").write_text(json.dumps(found))
    assert verdict(tmp_path, "Importance").word == word
    assert "sac 2e-07" in verdict(tmp_path, "Importance").found
    assert verdict(tmp_path, "All runs").found == "smoke: 4 runs in 9 s with 2 workers"
    resumed = verdict(tmp_path, "resumes")
    assert resumed[1:] == (True, "default: row 2, loss: 1, not 2; deterministic: 5 rows equal")


def test_rows_are_compared_to_the_last_bit() -> None:
    nan, close = float("nan"), 0.1 + 0.2
    assert difference([{"a": nan, "b": close}], [{"a": nan, "b": close}]) == {"rows": 1, "difference": None}
    assert difference([{"a": 1}, {"a": 0.3}], [{"a": 1}, {"a": close}])["difference"] == f"row 1, a: 0.3, not {close}"
    assert difference([{"a": 1}], [])["difference"] == "1 rows, not 0"
    assert difference([{"a": 1}], [{"a": 1, "b": 2}])["difference"] == "row 0, b: None, not 2"
