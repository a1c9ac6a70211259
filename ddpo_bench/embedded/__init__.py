"""The embedded model: a small text-to-image latent diffusion model in Stable Diffusion's folder format."""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
FLOW_MODEL_FOLDER = Path(__file__).parent / "flow_model"
EMBEDDED = {"embedded": MODEL_FOLDER, "embedded-flow": FLOW_MODEL_FOLDER}  # by the name that `policy.model` gives
