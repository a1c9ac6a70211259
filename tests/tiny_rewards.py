"""Random tiny models of the classes that learned rewards load, in folders with the files that the hub's have."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tiny_pipelines
import torch
from image_reward_reference import ImageRewardReference
from open_clip_reference import OpenClip

from ddpo_bench.embedded import MODEL_FOLDER

SIDE, PATCH, WIDTH, PROJECTION, TOKENS = 16, 8, 16, 12, 16
TOWER = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": SIDE, "patch_size": PATCH, "initializer_range": 0.3}
CLIP_PICTURES = {  # as openai/clip-vit-large-patch14 has it
    "crop_size": SIDE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": SIDE,
}
SIGLIP_PICTURES = {  # as google/siglip2-so400m-patch14-384 has it
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "SiglipProcessor",
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": SIDE, "width": SIDE},
}
OWLV2_PICTURES = {  # as google/owlv2-base-patch16-ensemble has it
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": CLIP_PICTURES["image_mean"],
    "image_processor_type": "Owlv2ImageProcessor",
    "image_std": CLIP_PICTURES["image_std"],
    "processor_class": "Owlv2Processor",
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": SIDE, "width": SIDE},
}
GOT_OCR_PICTURES = {  # as stepfun-ai/GOT-OCR-2.0-hf has it
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": CLIP_PICTURES["image_mean"],
    "image_processor_type": "GotOcr2ImageProcessor",
    "image_std": CLIP_PICTURES["image_std"],
    "processor_class": "GotOcr2Processor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 128, "width": 128},
}
HEAD = {0: (8, PROJECTION), 2: (6, 8), 4: (5, 6), 6: (4, 5), 7: (1, 4)}  # layers.N.weight, dropout between them


def clip(folder: Path, **tower: Any) -> None:
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    shutil.copytree(MODEL_FOLDER / "tokenizer", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = {
        **TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TOKENS,
        "initializer_range": 0.3,
        **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")},
        **tower,
    }
    config = CLIPConfig(text_config=text, vision_config=VISION | tower, projection_dim=PROJECTION)
    CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PICTURES))


def open_clip(folder: Path) -> None:
    """The folder of a CLIPModel, whose weights count for nothing, and both versions of a checkpoint of open_clip."""
    from transformers import AutoTokenizer

    clip(folder, num_hidden_layers=2, hidden_act="gelu")
    for name in ("HPS_v2_compressed", "HPS_v2.1_compressed"):
        model = OpenClip(
            SIDE, PATCH, WIDTH, 2, 2, PROJECTION, TOKENS, vocabulary=len(AutoTokenizer.from_pretrained(folder))
        ).half()
        torch.save({"epoch": 1, "state_dict": model.state_dict()}, folder / f"{name}.pt")


def bert_tokenizer(folder: Path) -> int:
    """Number of its words."""
    from transformers import BertTokenizerFast

    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["a", "two", "three", "cat", "frog", "dog", "and", "on", "blue", "##s"],
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return len(words)


def deberta(folder: Path) -> None:
    """As microsoft/deberta-xlarge-mnli: relative positions alone, and a classifier's weights in a pickle."""
    from transformers import DebertaConfig, DebertaModel

    config = DebertaConfig(
        **TOWER | {"num_hidden_layers": 3},
        vocab_size=bert_tokenizer(folder),
        initializer_range=0.5,
        max_position_embeddings=64,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    state = {f"deberta.{name}": weights for name, weights in DebertaModel(config).state_dict().items()}
    torch.save(state | {"classifier.bias": torch.zeros(3)}, folder / "pytorch_model.bin")
    config.save_pretrained(folder)


def image_reward(folder: Path) -> None:
    """A checkpoint of ImageReward, and a tokenizer of BERT's kind."""
    words = bert_tokenizer(folder)
    state = ImageRewardReference(SIDE, PATCH, words).state_dict()
    torch.save(state | {"blip.text_encoder.embeddings.position_ids": torch.arange(40)[None]}, folder / "ImageReward.pt")


def siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipModel

    _, tokenizer = tiny_pipelines.t5(folder)
    text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": TOKENS, "projection_size": WIDTH}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SIGLIP_PICTURES))


def owlv2(folder: Path) -> None:
    from transformers import AutoTokenizer, Owlv2Config, Owlv2ForObjectDetection

    shutil.copytree(MODEL_FOLDER / "tokenizer", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = {
        **TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TOKENS,
        "initializer_range": 0.3,
        **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")},
    }
    config = Owlv2Config(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(OWLV2_PICTURES))


def got_ocr(folder: Path) -> None:
    from transformers import GotOcr2Config, GotOcr2ForConditionalGeneration

    tokenizer = tiny_pipelines.qwen_tokenizer(folder)
    tokenizer.add_tokens(["<img>", "</img>", "<imgpad>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    text = {**TOWER, "model_type": "qwen2", "vocab_size": len(tokenizer), "num_key_value_heads": 2}
    vision = {
        "hidden_size": WIDTH,
        "output_channels": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 128,
        "window_size": 2,
        "global_attn_indexes": [0],
        "mlp_dim": 32,
        "initializer_range": 0.3,
    }
    pad = tokenizer.convert_tokens_to_ids("<imgpad>")
    config = GotOcr2Config(
        text_config={**text, "initializer_range": 0.3}, vision_config=vision, image_token_index=pad, image_seq_length=4
    )
    GotOcr2ForConditionalGeneration(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(GOT_OCR_PICTURES))


def head(folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    shapes = {f"layers.{number}.weight": shape for number, shape in HEAD.items()}
    shapes |= {f"layers.{number}.bias": shape[:1] for number, shape in HEAD.items()}
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, folder / "model.safetensors")


MAKERS = {
    "clip": clip,
    "open_clip": open_clip,
    "owlv2": owlv2,
    "got_ocr": got_ocr,
    "image_reward": image_reward,
    "deberta": deberta,
    "siglip": siglip,
    "head": head,
}


@cache
def folder_of(part: str) -> Path:
    """The folder of a part, made when it is first asked for, the same at every call."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(kept().name) / part
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MAKERS[part](folder)
    return folder


@cache
def kept() -> TemporaryDirectory[str]:
    """Deleted as the process ends."""
    return TemporaryDirectory(prefix="tiny-rewards-")


PARTS = {
    "aesthetic": {"model": "clip", "head": "head"},
    "caption_bertscore": {"encoder": "deberta"},
    "clip_score": {"model": "clip"},
    "got_ocr": {"model": "got_ocr"},
    "geneval": {"model": "owlv2", "colours": "clip"},
    "hpsv2": {"model": "open_clip", "processor": "open_clip"},
    "image_reward": {"model": "image_reward", "processor": "image_reward"},
    "pickscore": {"model": "clip", "processor": "clip"},
    "siglip_score": {"model": "siglip"},
}


def options_of(reward: str) -> dict[str, Any]:
    """Of a learned reward, so that it loads the tiny models; of another reward none."""
    return {option: str(folder_of(part)) for option, part in PARTS.get(reward, {}).items()}
