"""The decoder-only transformer: token ids in, scores for every next token out.

Tokens become vectors (the residual stream); every block adds what attention gathered from earlier positions and what
a feed-forward network made of it; a matrix turns each vector into scores for the next token. The configuration says
which norms, positions and feed-forward networks; each is a small class of its own, chosen when the model is made.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from llm_core.config import ModelConfig
from llm_core.model.attention import look
from llm_core.model.block import Surroundings, block
from llm_core.model.cache import KVCache
from llm_core.model.normalization import PlainRMSNorm, normalization
from llm_core.model.positions import position_embedding, positions_in_documents, rotary_embedding
from llm_core.model.precision import narrow
from llm_core.model.recompute import recomputed
from llm_core.model.shape import has_value_embedding, head_shape, window_of


class Transformer(nn.Module):
    """The whole model.

    A new one holds PyTorch's default weights; :func:`llm_core.model.initialization.initialize` gives it seeded ones.
    """

    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What a training pass computes again in the backward pass instead of keeping it. Changes memory, not results."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.heads, self.kv_heads, self.head_dim = head_shape(config)
        self.windows = tuple(dict.fromkeys(window_of(config, layer) for layer in range(config.layers)))
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.position_embedding = position_embedding(config)
        self.rotary = rotary_embedding(config)
        self.dropout = nn.Dropout(config.dropout)
        # Where the stream itself is mixed in again it is brought to one size first (modded-nanogpt).
        self.first_norm = PlainRMSNorm(config.dim, config.norm_eps) if config.residual_scalars else nn.Identity()
        # Beside the blocks and not within: these are rows that are looked up, not matrices that multiply.
        self.value_embeddings = nn.ModuleDict(
            {
                str(layer): nn.Embedding(vocab_size, self.kv_heads * self.head_dim)
                for layer in range(config.layers)
                if has_value_embedding(config, layer)
            }
        )
        self.blocks = nn.ModuleList(block(config, layer) for layer in range(config.layers))
        # After post-norm blocks there is nothing left to normalize.
        self.norm = normalization(config, config.dim) if config.norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(config.dim, vocab_size, bias=False)
        if config.tie_embeddings:  # Press & Wolf 2017: one matrix reads tokens and scores them
            self.head.weight = self.embedding.weight

    def hidden(
        self,
        tokens: Tensor,
        *,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """States after the final norm, from which the head (or a classifier) reads.

        Args:
            tokens: (batch, time) int64, at most ``context_length`` of them with what the cache holds.
            cache: holds the text before; gets this text's keys and values.
            positions: (time,) or (batch, time); by default they count on from the cache's end.
            document_ids: (batch, time), equal for tokens of one document, which lie together: no token sees another
                document. Not with a cache.

        Returns:
            (batch, time, dim) fp32
        """
        positions = self.positions(tokens, cache, positions, document_ids)
        x = self.embed(tokens, positions)  # (batch, time, dim)
        around = self.surroundings(x, positions, cache, document_ids)
        for layer, one in enumerate(self.blocks):
            value = self.value_embeddings[str(layer)](tokens) if str(layer) in self.value_embeddings else None
            if self.training and self.activation_checkpointing != "none":
                x = recomputed(one, x, around, value, keep_products=self.activation_checkpointing == "selective")
            else:
                x = one(x, around, value)
        if cache is not None:
            cache.advance(tokens.shape[-1])
        return self.norm(x)

    def positions(
        self, tokens: Tensor, cache: KVCache | None, positions: Tensor | None, document_ids: Tensor | None
    ) -> Tensor:
        """Where each token stands: (time,) or (batch, time) int64."""
        if positions is not None:
            return positions
        start, time = cache.length if cache is not None else 0, tokens.shape[-1]
        if start + time > self.config.context_length:
            raise ValueError(f"{start + time} tokens don't fit the context of {self.config.context_length}")
        if document_ids is not None and self.rotary is None:
            return positions_in_documents(document_ids)  # rotary ones tell distances only, which are the same
        return torch.arange(start, start + time, device=tokens.device)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """The residual stream before the first block: (batch, time, dim)."""
        x: Tensor = self.position_embedding(self.embedding(tokens), positions)
        return self.first_norm(self.dropout(x))

    def surroundings(
        self, x: Tensor, positions: Tensor, cache: KVCache | None, document_ids: Tensor | None
    ) -> Surroundings:
        """What the blocks are told besides the stream ``x``."""
        if cache is not None and document_ids is not None:
            raise ValueError("documents that share a row can't be read in pieces, so there is no cache for them")
        time = x.shape[1]
        keys = time if cache is None else cache.length + time
        # FlexAttention knows no dropout, and no heads of less than 16 dimensions.
        blockwise = x.is_cuda and self.head_dim >= 16 and not (self.training and self.config.dropout)
        sights = {
            window: look(time, keys, window=window, documents=document_ids, device=x.device, blockwise=blockwise)
            for window in self.windows
        }
        rotation = None if self.rotary is None else self.rotary.tables(positions)
        return Surroundings(sights, rotation, x if self.config.residual_scalars else None, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token from states: (..., dim) -> (..., vocab) fp32."""
        scores = self.head(narrow(hidden, self.head)).float()
        cap = self.config.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)  # Gemma 2: no score beyond the cap

    def forward(self, tokens: Tensor, *, cache: KVCache | None = None, document_ids: Tensor | None = None) -> Tensor:
        """Scores of the next token: (batch, time) int64 -> logits (batch, time, vocab) fp32."""
        return self.logits(self.hidden(tokens, cache=cache, document_ids=document_ids))

    def new_cache(self, batch: int = 1, capacity: int | None = None) -> KVCache:
        """An empty cache on the model's device for ``capacity`` positions (by default the whole window)."""
        return KVCache(
            layers=self.config.layers,
            batch=batch,
            kv_heads=self.kv_heads,
            capacity=capacity or self.config.context_length,
            head_dim=self.head_dim,
            device=self.embedding.weight.device,
            dtype=self.embedding.weight.dtype,
        )

    def num_parameters(self) -> int:
        """Trainable numbers; a tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
