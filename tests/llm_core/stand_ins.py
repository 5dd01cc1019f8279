"""What several tests of the model part look at: documents as plain lists, models that show everything they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_core.config import ModelConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.shards.documents import SPLITS, document_pieces, read_piece


@dataclass(frozen=True)
class Documents:
    """Some documents of a file: ``texts[i]`` belongs to ``splits[i]`` and came from ``sources[i]``."""

    texts: list[str]
    splits: list[str]
    sources: list[str]


def read_documents(folder: Path, *, once: bool = False) -> Iterator[Documents]:
    """All documents, in the order of the files and their rows; ``once`` leaves out the repetitions of a mixture."""
    for piece in document_pieces(folder, 0):
        for batch in read_piece(piece):
            rows = [n for n, repeated in enumerate(batch.repeated) if not (once and repeated)]
            yield Documents(
                batch.texts.take(rows).to_pylist(),
                [SPLITS[batch.splits[row]] for row in rows],
                batch.sources.take(rows).to_pylist(),
            )


def random_model(config: ModelConfig, vocab_size: int) -> Transformer:
    """Random weights, large enough that every part of the model shows in the logits (norm weights too)."""
    model = Transformer(config, vocab_size).eval()
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model
