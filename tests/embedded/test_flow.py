"""The flow stage of the recipe: its training pairs, its one token for many zeros, and a tiny run of the whole stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0

from ddpo_bench.embedded import MODEL_FOLDER, fit, flow, flow_pairs
from ddpo_bench.embedded.fit import Schedule
from ddpo_bench.embedded.flow import build_flow_model, flow_pipeline, train_flow
from ddpo_bench.embedded.recipe import load_pipeline


@pytest.fixture(scope="module")
def teacher() -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(MODEL_FOLDER, safety_checker=None, torch_dtype=torch.float32)


@torch.no_grad()
def test_pairs_hold_the_prediction_of_diffusers_own_scheduler(
    teacher: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "has_bfloat16", lambda device: False)
    pairs = flow_pairs.trajectory_pairs(teacher, (6, 0), prompts=2)
    noisy, sigma, velocity = pairs["noisy"].float(), pairs["sigma"], pairs["velocity"].float()
    assert (sigma[:2] > 0.936).all()
    assert (sigma > 0).all()
    assert (sigma <= 1).all()
    alphas = teacher.scheduler.alphas_cumprod
    levels = (1 - alphas).sqrt() / (alphas.sqrt() + (1 - alphas).sqrt())
    encode = teacher.text_encoder
    teacher.scheduler.set_timesteps(20)
    for row in (2, 21, 39):
        t = int((levels - sigma[row]).abs().argmin())
        state = noisy[row, None] * (alphas[t].sqrt() + (1 - alphas[t]).sqrt())
        text = encode(pairs["tokens"][row, None].long()).last_hidden_state
        (expected,) = teacher.scheduler.step(teacher.unet(state, t, text).sample, t, state).pred_original_sample
        torch.testing.assert_close(noisy[row] - sigma[row] * velocity[row], expected, atol=0.02, rtol=0.01)  # float16


@torch.no_grad()
@pytest.mark.parametrize("zeros", [1, 40])
def test_one_zero_token_stands_for_many_of_the_pipeline(zeros: int) -> None:
    model = build_flow_model(MODEL_FOLDER)
    for parameter in model.transformer.parameters():
        parameter.normal_(std=0.1)
    x_t = torch.randn(2, 8, 8, 8)
    pipeline = flow_pipeline(model, MODEL_FOLDER).to(torch.float32)
    prompts = ["two frogs", ""]
    tokens = pipeline.tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    texts, _, pooled, _ = pipeline.encode_prompt(
        prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=zeros
    )
    expected = model.transformer(x_t, texts, pooled, torch.tensor([300.0, 900.0])).sample
    model.transformer.set_attn_processor(flow.MaskedJointAttention())
    found = model(x_t, torch.tensor([0.3, 0.9]), tokens, torch.tensor([float(zeros)] * 2))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_stage_makes_a_small_folder_that_diffusers_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_pairs, "PROMPTS", 2)
    monkeypatch.setattr(flow_pairs, "CHUNK", 2 * flow_pairs.STEPS)
    monkeypatch.setattr(flow, "PAIRS", {"cpu": 40})
    monkeypatch.setattr(flow, "SCHEDULES", {"cpu": Schedule(steps=3, batch=4)})
    model = train_flow(MODEL_FOLDER, tmp_path, torch.device("cpu"))
    assert model.transformer.proj_out.weight.any()  # it starts from zeros
    folder = tmp_path / "flow_model"
    flow_pipeline(model, MODEL_FOLDER).save_pretrained(folder)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 14e6
    pipeline = load_pipeline(folder)
    assert isinstance(pipeline, StableDiffusion3Pipeline)
    assert isinstance(pipeline.transformer.transformer_blocks[0].attn.processor, JointAttnProcessor2_0)
    images = pipeline("a frog", num_inference_steps=2, guidance_scale=1.0, output_type="pt").images
    assert images.shape == (1, 3, 64, 64)
    assert images.isfinite().all()
