from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

from ddpo_bench.analysis.statistics import Estimate
from ddpo_bench.analysis.tables import Column, Row, Table, latex
from ddpo_bench.analysis.terminal import TerminalTable

NAN = float("nan")
TABLE = Table(
    title="pairs: a_b",
    columns=[
        Column("algorithm", "algorithm", part=None),
        Column("reward", "reward", part=None),
        Column("n", "n"),
        Column("final", "final reward", digits=4, interval=True),
        Column("gain", "gain", digits=4, interval=True, scale="final"),
        Column("kl", "KL", "nats", digits=3),
        Column("memory", "peak memory", "MB", digits=3, part="further"),
    ],
    rows=[
        Row("kB", {"algorithm": "frozen", "reward": "kB", "n": 3, "final": Estimate(-1.09, -1.1, -1.08)}),
        Row("kB", {"algorithm": "policy_gradient", "reward": "kB", "n": 3, "final": Estimate(-0.8812, -0.9, -0.87),
                   "gain": Estimate(0.2088, 0.2, 0.21), "kl": Estimate(12.34, 11, 13)}, "best"),
        Row("p|q", {"algorithm": "ppo", "reward": "p|q", "n": 1, "final": Estimate(0.0412, NAN, NAN),
                    "kl": Estimate(-0.00001, NAN, NAN), "memory": Estimate(512.4, NAN, NAN)}, "tied"),
    ],
    marked="final",
    notes=("Made by `ddpo-bench run a_b`, 95 %.",),
)  # fmt: skip

MARKDOWN = r"""# pairs: a_b

| algorithm | reward | n | final reward | gain | KL (nats) |
| :-- | :-- | --: | --: | --: | --: |
| frozen | kB | 3 | -1.090 [-1.100, -1.080] | – | – |
| policy_gradient | kB | 3 | **-0.881 [-0.900, -0.870]** | 0.209 [0.200, 0.210] | 12.3 |
| ppo | p\|q | 1 | 0.0412 ≈ | – | -0.000010 |

Made by `ddpo-bench run a_b`, 95 %.

## Further measurements

| algorithm | reward | peak memory (MB) |
| :-- | :-- | --: |
| frozen | kB | – |
| policy_gradient | kB | – |
| ppo | p\|q | 512 |
"""


def test_markdown() -> None:
    assert TABLE.to_markdown() == MARKDOWN


@pytest.mark.parametrize(
    ("largest", "digits", "text"),
    [
        (1234.5, 4, "1234"),
        (123.45, 4, "123.5"),
        (1.0, 4, "1.000"),
        (0.5, 4, "0.500"),
        (0.05, 4, "0.0500"),
        (61.25, 3, "61.2"),
    ],
)
def test_decimals_follow_the_largest_value(largest: float, digits: int, text: str) -> None:
    column = Column("final", "final", digits=digits)
    row = Row("g", {"final": Estimate(largest, NAN, NAN)})
    assert (
        Table("t", [column], [row, Row("g", {"final": Estimate(largest / 7, NAN, NAN)})], "").cell(row, column) == text
    )


def test_a_negative_zero_is_written_as_zero() -> None:
    column = Column("final", "final", digits=3)
    rows = [Row("g", {"final": Estimate(value, NAN, NAN)}) for value in (-0.0001, 5.0)]
    assert Table("t", [column], rows, "").cell(rows[0], column) == "0.00"


def test_text_is_that_of_the_figure_in_the_csv() -> None:
    column, figure = Column("final", "final", digits=4), -2.0364999999999998
    rows = [Row("g", {"final": Estimate(value, NAN, NAN)}) for value in (figure, float(f"{figure:.8g}"))]
    table = Table("t", [column], rows, "")
    assert f"{figure:.3f}" == "-2.036"
    assert [table.cell(row, column) for row in rows] == ["-2.037", "-2.037"]


def test_csv_reads_back_as_the_frame() -> None:
    frame = pd.read_csv(io.StringIO(TABLE.to_csv()))
    pd.testing.assert_frame_equal(frame, TABLE.to_frame(), check_dtype=False)
    assert list(frame.columns[:7]) == ["algorithm", "reward", "n", "final", "final_low", "final_high", "gain"]
    assert frame.loc[1, "final_low"] == -0.9
    assert pd.isna(frame.loc[0, "gain"])


def test_latex_is_escaped_and_ruled() -> None:
    text = TABLE.to_latex()
    assert r"policy\_gradient & kB & 3 & \textbf{-0.881 [-0.900, -0.870]} & 0.209 [0.200, 0.210] & 12.3 \\" in text
    assert r"0.0412 $\approx$" in text
    assert r"Made by \texttt{ddpo-bench run a\_b}, 95 \%." in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert text.count(r"\midrule") == 4  # two groups in both parts


def test_latex_special_characters() -> None:
    assert latex(r"\ & % $ # _ { } ~ ^") == (
        r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{}"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_terminal_cuts_no_number_off(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(TerminalTable(TABLE))
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= width
    for row in TABLE.rows:
        assert all(TABLE.cell(row, column) in out.getvalue() for column in TABLE.part("main"))


def test_a_wide_terminal_shows_one_grid() -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(TerminalTable(TABLE))
    assert out.getvalue().count("policy_gradient") == 1
