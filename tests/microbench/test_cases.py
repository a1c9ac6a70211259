"""The grid and the bytes of its cases, by hand."""

from __future__ import annotations

import json

import pytest

from ddpo_bench.config import ConfigError
from ddpo_bench.embedded import MODEL_FOLDER
from ddpo_bench.microbench.cases import CPU_ELEMENTS, LATENTS, Case, select_cases

SD15 = 4 * 64 * 64  # 16,384


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # uncond, cond, x_t, noise in, x_prev out; index and log-prob
        (Case("sample", "sd15", 1, "fp32"), 5 * SD15 * 4 + 8 + 4),
        # uncond, cond, x_t, x_prev in; index and log-prob
        (Case("score", "sd15", 1, "bf16"), 4 * SD15 * 2 + 8 + 4),
        # as score, and the reference's mean in fp32; the KL too
        (Case("score_kl", "sd15", 2, "bf16"), 2 * (4 * SD15 * 2 + SD15 * 4 + 8 + 4 + 4)),
        # uncond, cond, x_t, x_prev in, two gradients out; index and gradient of log-prob
        (Case("backward", "sdxl", 1, "fp32"), 6 * 65536 * 4 + 8 + 4),
        # new and old log-prob and advantage in, gradient out
        (Case("loss", "flux", 256, "bf16"), 256 * 4 * 4),
        # ten half-precision tensors; twice the index; log-prob out and in, old log-prob, advantage, gradient out and in
        (Case("learning_step", "flux", 3, "bf16"), 3 * (10 * 262144 * 2 + 2 * 8 + 6 * 4)),
    ],
    ids=str,
)
def test_bytes_are_those_counted_by_hand(case: Case, expected: int) -> None:
    assert case.bytes == expected


def test_the_embedded_latent_is_that_of_the_model() -> None:
    config = json.loads((MODEL_FOLDER / "unet" / "config.json").read_text())
    assert LATENTS["embedded"] == (config["in_channels"], config["sample_size"], config["sample_size"])


def test_cases_of_the_same_inputs_follow_each_other() -> None:
    inputs = [case.inputs for case in select_cases(None, None, None, None, on_gpu=True)]
    assert len(set(inputs)) == sum(a != b for a, b in zip(["", *inputs], inputs, strict=False))


def test_a_cpu_is_spared_large_cases_unless_they_are_asked_for() -> None:
    assert max(case.elements for case in select_cases(None, None, None, None, on_gpu=False)) <= CPU_ELEMENTS
    assert max(case.batch for case in select_cases(None, None, None, None, on_gpu=True)) == 256
    assert [case.batch for case in select_cases(["flux"], [256], ["bf16"], ["loss"], on_gpu=False)] == [256]


def test_all_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        select_cases(["sd5"], None, ["fp16"], ["scoer"], on_gpu=False)
    assert len(raised.value.mistakes) == 3
    assert "--latent: unknown latent 'sd5'. Did you mean 'sd15'?" in raised.value.mistakes[0]
    assert "--operation: unknown operation 'scoer'. Did you mean 'score'?" in raised.value.mistakes[2]
