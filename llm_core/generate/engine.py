"""Text from a model: the prompt at once (prefill), then one step for each token, with cached keys and values."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch

from llm_core.errors import LlmCoreError
from llm_core.generate.sampling import sample
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.encode import Tokenizer


def generate(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int = 64,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = 0.95,
    seed: int = 1,
    stop_ids: Collection[int] | None = None,
) -> Iterator[int]:
    """Continue ``prompt_ids``; yields each new token as soon as it is drawn.

    The model sees its window only: of a longer prompt the end, and when the window has filled up, its last half is
    read anew and the text goes on (the positions begin at 0 again, so the cached keys can't be kept).

    Args:
        max_tokens: how many tokens at most.
        temperature, top_k, top_p: see :mod:`llm_core.generate.sampling`; temperature 0 is greedy.
        seed: the same seed gives the same text.
        stop_ids: tokens that end the text and aren't yielded; by default ``<|endoftext|>`` and ``<|end|>``.

    Raises:
        LlmCoreError: the tokenizer doesn't belong to the model.
    """
    if tokenizer.vocab_size != model.vocab_size:
        raise LlmCoreError(
            f"the tokenizer has {tokenizer.vocab_size} entries and the model {model.vocab_size}: they aren't a pair."
        )
    stop = {tokenizer.eot_id, tokenizer.end_id} if stop_ids is None else set(stop_ids)
    # An empty prompt begins a new document.
    return _tokens(model, list(prompt_ids) or [tokenizer.eot_id], max_tokens, temperature, top_k, top_p, seed, stop)


def _tokens(
    model: Transformer,
    text: list[int],
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    stop: set[int],
) -> Iterator[int]:
    window = model.config.context_length
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(seed)
    cache = model.new_cache()
    unread = text[-window:]
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_tokens):
            if cache.length + len(unread) > window:
                cache.reset()
                unread = text[-max(1, window // 2) :]
            with torch.inference_mode():
                state = model.hidden(torch.tensor([unread], device=device), cache=cache)
                logits = model.logits(state[:, -1])  # (1, vocab): only the last position is asked for
                token = int(sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator))
            if token in stop:
                return
            text.append(token)
            unread = [token]
            yield token
    finally:
        model.train(was_training)


class StreamDecoder:
    """Tokens in, text out, never a broken character: bytes wait until their character is complete."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that ``token`` completes; empty while a character is unfinished."""
        return self._decoder.decode(self._bytes_of[token])

    def flush(self) -> str:
        """At the end: what was left unfinished, as U+FFFD."""
        return self._decoder.decode(b"", final=True)


def stream_text(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Text pieces of ``tokens`` as they come, without empty ones."""
    decoder = StreamDecoder(tokenizer)
    for token in tokens:
        if piece := decoder.push(token):
            yield piece
    if rest := decoder.flush():
        yield rest
