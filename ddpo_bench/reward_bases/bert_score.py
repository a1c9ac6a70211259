"""BERTScore (Zhang et al. 2020): two texts compared by the best match of each token of one among those of the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpo_bench.reward_bases.checking import RewardError
from ddpo_bench.reward_bases.frozen_model import frozen, load_part
from ddpo_bench.reward_bases.model_files import SETTINGS, WEIGHTS, folder_of

LONGEST = 512  # tokens of a text


@dataclass(frozen=True)
class Matches:
    """Of N pairs of texts, [N] float64 each, -1 to 1.

    Attributes:
        precision: mean over the candidate's tokens of their best match in the reference.
        recall: mean over the reference's tokens of their best match in the candidate.
    """

    precision: Tensor
    recall: Tensor

    @property
    def f1(self) -> Tensor:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


class BertScore:
    """As the package bert_score computes it, without weights by frequency (idf) and without rescaling.

    A match is the cosine of two tokens' outputs of one layer.  The tokens that begin and end a text may be matched, but
    are not averaged over.

    Args:
        encoder: folder or hub name of a BERT-like model of transformers.
        layer: from 1; the layers above are not loaded.
        device: where it runs, in fp32.
        batch_size: texts at a time.
    Raises:
        RewardError: where it cannot be loaded, in one line.
    """

    def __init__(self, encoder: str, revision: str | None, layer: int, device: torch.device, batch_size: int):
        folder = encoder_folder(encoder, revision)
        config = load_part("AutoConfig", folder)
        if layer > config.num_hidden_layers:
            raise RewardError(f"layer: {encoder} has {config.num_hidden_layers} layers, and no layer {layer}.")
        config.num_hidden_layers = layer
        self.model = frozen("AutoModel", folder, device, folder, config=config, local_files_only=True)
        self.tokenizer, self.device, self.batch_size = load_part("AutoTokenizer", folder), device, batch_size

    def __call__(self, candidates: list[str], references: list[str]) -> Matches:
        embeddings = self.embeddings([*candidates, *references])
        precision: list[float] = []
        recall: list[float] = []
        for candidate, reference in zip(candidates, references, strict=True):
            (given, given_counts), (wanted, wanted_counts) = embeddings[candidate], embeddings[reference]
            similarity = given @ wanted.T  # tokens of the candidate x of the reference
            precision.append(float(similarity.amax(dim=1)[given_counts].mean()))
            recall.append(float(similarity.amax(dim=0)[wanted_counts].mean()))
        return Matches(torch.tensor(precision, dtype=torch.float64), torch.tensor(recall, dtype=torch.float64))

    @torch.no_grad()
    def embeddings(self, texts: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each text its tokens [L, D], of length 1, and which of them are averaged over."""
        different, found = list(dict.fromkeys(texts)), {}
        ends = torch.tensor([self.tokenizer.cls_token_id, self.tokenizer.sep_token_id], device=self.device)
        for start in range(0, len(different), self.batch_size):
            part = different[start : start + self.batch_size]
            read = self.tokenizer(
                [text.strip() for text in part], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            ).to(self.device)
            ids, mask = read["input_ids"], read["attention_mask"]
            outputs = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
            for text, states, own, kept in zip(part, F.normalize(outputs, dim=-1), ids, mask.bool(), strict=True):
                found[text] = states[kept], ~torch.isin(own[kept], ends)
        return found


def encoder_folder(name: str, revision: str | None) -> Path:
    """With safetensors or, where there are none, the pickle, which transformers reads with weights_only=True."""
    folder = folder_of(name, revision, [*SETTINGS, *WEIGHTS])
    return folder if any(folder.glob("*.safetensors")) else folder_of(name, revision, [*SETTINGS, "pytorch_model.bin"])
