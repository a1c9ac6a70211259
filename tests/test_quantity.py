"""One setting is the same divergence for every model, however it is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ddpo_bench.config import ConfigError, run_config, to_plain
from ddpo_bench.files import plain_yaml
from ddpo_bench.quantity import MEAN_UNITS, NATS, Quantity
from ddpo_bench.yaml_file import apply_overrides

SD15, EMBEDDED = 4 * 64 * 64, 512


@given(st.floats(1e-12, 1e12), st.sampled_from([NATS, MEAN_UNITS]))
def test_a_quantity_is_read_back_as_it_was_written(value: float, unit: Any) -> None:
    quantity = Quantity(value, unit)
    assert Quantity.parse(quantity.plain()) == quantity
    assert Quantity.parse(yaml.safe_load(plain_yaml({"x": to_plain(quantity)}))["x"]) == quantity


def test_both_units_say_the_same() -> None:
    nats, bare = Quantity.parse("1.6 nats"), Quantity.parse("1e-4")
    assert nats == Quantity.parse(" 1.60nats") == Quantity(1.6, NATS)
    assert bare == Quantity.parse(0.0001) == Quantity(1e-4, MEAN_UNITS)
    assert (nats.nats(SD15), nats.mean_units(SD15)) == (1.6, 1.6 / 16384)
    assert (bare.nats(SD15), bare.mean_units(SD15)) == (1.6384, 1e-4)
    assert nats.mean_units(EMBEDDED) == 1.6 / 512
    assert Quantity.parse("80 nats").plain() == "80 nats"


@pytest.mark.parametrize("written", ["small", "nats", "1.6 bits", "1.6 mean units", "1,6 nats", True, None, [1.6], {}])
def test_what_is_no_quantity_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r'expected nats \("1.6 nats"\) or a bare number in mean units, got '):
        Quantity.parse(written)


@pytest.mark.parametrize("written", ["-1 nats", "0 nats", "nan nats", "inf nats", 0, -1e-4, math.nan, math.inf])
@pytest.mark.parametrize(("algorithm", "key"), [("ppo", "clip_range"), ("trpo_penalty", "max_kl")])
def test_a_divergence_must_be_positive_and_finite(algorithm: str, key: str, written: Any) -> None:
    line = rf"^file.yaml: algorithm.{key}: must be (above 0 and at most 1,000,000,000|a finite number), got \S+$"
    with pytest.raises(ConfigError, match=line):
        run_config({"algorithm": {"name": algorithm, key: written}}, "file.yaml")


def test_the_defaults_are_the_same_divergence_for_every_model() -> None:
    for algorithm, key, nats in [("ppo", "clip_range", 1.6), ("trpo_penalty", "max_kl", 80.0)]:
        found = run_config({"algorithm": algorithm}, "file.yaml").algorithm.options[key]
        assert found.nats(EMBEDDED) == found.nats(SD15) == nats


def test_config_yaml_and_the_identity_keep_the_unit(tmp_path: Path) -> None:
    data = apply_overrides({"algorithm": {"name": "ppo"}}, ["algorithm.clip_range='2.5 nats'"])
    config = run_config(data, "file.yaml")
    plain = yaml.safe_load(plain_yaml(config.to_dict()))
    assert plain["algorithm"]["clip_range"] == "2.5 nats"
    assert run_config(plain, "config.yaml") == config
    same, other = ({"algorithm": {"name": "ppo", "clip_range": text}} for text in ("2.50nats", 2.5))
    assert run_config(same, "a").identity() == config.identity() != run_config(other, "b").identity()
