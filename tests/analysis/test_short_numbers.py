from __future__ import annotations

from pathlib import Path

from fabricate import fabricate_run
from hypothesis import given
from hypothesis import strategies as st

from ddpo_bench.analysis.collect import collect
from ddpo_bench.analysis.short_numbers import shortened


def test_a_drawn_number_is_named_in_three_digits(tmp_path: Path) -> None:
    for rate in (0.0003541641581606764, 5.96627575326096e-05):
        fabricate_run(tmp_path / "algos", "ppo", "target_colour", 0, learning_rate=rate)
    assert {run.label for run in collect(tmp_path / "algos")} == {
        "ppo learning_rate=0.000354",
        "ppo learning_rate=5.97e-05",
    }


def test_numbers_that_are_close_keep_the_digits_that_tell_them_apart() -> None:
    rates = [{"rate": 0.12345678}, {"rate": 0.12345}, {"rate": 0.9}]
    assert shortened(rates) == [{"rate": 0.12346}, {"rate": 0.12345}, {"rate": 0.9}]


VALUES = st.one_of(st.floats(allow_nan=False), st.integers(), st.text(), st.none())


@given(st.lists(VALUES, max_size=8))
def test_what_differs_still_does_and_what_is_equal_still_is(values: list[object]) -> None:
    short = [options["key"] for options in shortened([{"key": value} for value in values])]
    for i, value in enumerate(values):
        for j in range(i):
            if isinstance(value, float) == isinstance(values[j], float):
                assert (value == values[j]) == (short[i] == short[j])
        assert isinstance(value, float) or short[i] is value
