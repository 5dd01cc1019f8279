"""What each head looks at, for a few fixed sentences, at chosen steps of a training.

The maps are the equation's own softmax(Q K^T / sqrt(d) + M), computed from the queries and keys that the model makes
in an ordinary forward pass. Looking changes nothing: no random number is drawn, no gradient is kept.

``attention/`` then holds, for every step looked at, the maps (``step-00000100.safetensors``) and a picture for each
sentence; over all of them ``maps.json`` (numbers for each head) and ``change.png``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from llm_core.atomic import atomic_path, write_json
from llm_core.config import AttentionMapsConfig, LlmRuntime
from llm_core.errors import LlmCoreError
from llm_core.model.attention import attention_weights, causal_mask, window_mask
from llm_core.model.block import Attention, Surroundings
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.device import uncompiled

FOLDER = "attention"
#: Tokens of a sentence that are looked at; more can't be read in a picture.
MAX_TOKENS = 48


@contextmanager
def _recorded(model: Transformer) -> Iterator[list[Tensor]]:
    """Within it, every layer's attention adds its map (batch, heads, time, time) to the list."""
    maps: list[Tensor] = []

    def record(attention: Attention, inputs: tuple[Tensor, Surroundings, Tensor | None]) -> None:
        q, k, _ = attention.project(*inputs)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)  # grouped queries share a key head
        time = q.shape[-2]
        mask = causal_mask(time, time, device=q.device)
        if attention.window is not None:
            mask = mask + window_mask(time, time, attention.window, device=q.device)
        maps.append(attention_weights(q.float(), k.float(), mask).cpu())

    layers = [block.attention for block in model.blocks]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers if isinstance(layer, Attention)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def attention_maps(model: Transformer, tokens: Tensor) -> Tensor:
    """How much each token takes from each: (layers, heads, queries, keys) fp32 on the CPU, rows adding up to 1.

    Args:
        tokens: (time,) int64, at most ``context_length`` of them.
    """
    training = model.training
    model.eval()  # no dropout, so no random numbers
    try:
        # Compiled layers know nothing of hooks.
        with torch.no_grad(), uncompiled(model), _recorded(model) as maps:
            model.hidden(tokens[None].to(model.embedding.weight.device))
    finally:
        model.train(training)
    return torch.cat(maps)


@dataclass(frozen=True)
class HeadNumbers:
    """What a map looks like, in one number a head: each (layers, heads), means over the queries after the first."""

    entropy: Tensor
    """Nats; 0: all attention on one token."""
    previous: Tensor
    """Share of attention on the token before."""
    first: Tensor
    """Share on the first token, where heads rest that have nothing to say (Xiao et al. 2023)."""
    itself: Tensor

    @classmethod
    def of(cls, maps: list[Tensor]) -> HeadNumbers:
        """Of one step's maps, each (layers, heads, time, time), one for each sentence."""
        entropy, previous, first, itself = [], [], [], []
        for weights in maps:
            later = weights[:, :, 1:]  # the first token has nothing but itself
            entropy.append(torch.special.entr(later).sum(dim=-1))
            previous.append(weights.diagonal(offset=-1, dim1=-2, dim2=-1))
            first.append(later[..., 0])
            itself.append(weights.diagonal(dim1=-2, dim2=-1)[..., 1:])
        return cls(*(torch.cat(one, dim=-1).mean(dim=-1) for one in (entropy, previous, first, itself)))

    def rounded(self) -> dict[str, list[list[float]]]:
        return {name: rounded(getattr(self, name)) for name in ("entropy", "previous", "first", "itself")}


def change(before: list[Tensor], after: list[Tensor]) -> Tensor:
    """Total variation distance of the maps of two steps, mean over all queries: (layers, heads), 0 same, 1 disjoint."""
    far = [(b - a).abs().sum(dim=-1) / 2 for b, a in zip(before, after, strict=True)]  # (layers, heads, time)
    return torch.cat(far, dim=-1).mean(dim=-1)


def rounded(values: Tensor) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in values.tolist()]


class AttentionObserver:
    """Looks at a model at chosen steps and at the end; for the training loop.

    Args:
        model: the one in training; it isn't changed.
        last_step: the training's end.
        out: the artifact's folder; everything goes into ``attention/`` there.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, config: AttentionMapsConfig, last_step: int, out: Path
    ) -> None:
        self.model, self.steps, self.folder = model, {*config.steps, last_step}, out / FOLDER
        longest = min(MAX_TOKENS, model.config.context_length)
        # As in training: a text begins after the end of another.
        self.tokens = [[tokenizer.eot_id, *tokenizer.encode(sentence)][:longest] for sentence in config.sentences]
        self.words = [[shown_token(tokenizer, token) for token in sentence] for sentence in self.tokens]
        self.made_of = json.dumps(self.tokens)

    def is_due(self, step: int) -> bool:
        return step in self.steps

    def look(self, step: int) -> None:
        """Write down what the heads look at now. Of what was written before, all up to ``step`` counts."""
        from llm_core.train.attention_pictures import draw_changes, draw_maps

        maps = [attention_maps(self.model, torch.tensor(sentence)) for sentence in self.tokens]
        tensors = {f"sentence.{number}": one for number, one in enumerate(maps)}
        with atomic_path(self.folder / f"step-{step:08d}.safetensors") as temporary:
            save_file(tensors, temporary, metadata={"tokens": self.made_of})
        for number, (one, words) in enumerate(zip(maps, self.words, strict=True)):
            with atomic_path(self.folder / f"step-{step:08d}-{number}.png") as temporary:
                draw_maps(one, words, f"step {step:,}", temporary)
        history = self._history(step)
        write_json(self.folder / "maps.json", self._summary(history))
        with atomic_path(self.folder / "change.png") as temporary:
            draw_changes(history, temporary)

    def _history(self, until: int) -> dict[int, list[Tensor]]:
        """The maps of every step up to ``until``, from the files: a resumed training has its past there."""
        found = {}
        for path in sorted(self.folder.glob("step-*.safetensors")):
            named = re.fullmatch(r"step-(\d+)", path.stem)
            if named is None or int(named[1]) > until:
                continue
            try:
                with safe_open(path, "pt") as file:
                    if file.metadata().get("tokens") == self.made_of:  # else: of other sentences, asked for before
                        found[int(named[1])] = [file.get_tensor(f"sentence.{n}") for n in range(len(self.tokens))]
            except SafetensorError:
                continue  # damaged; the picture does without it
        return found

    def _summary(self, history: dict[int, list[Tensor]]) -> dict[str, Any]:
        steps: list[dict[str, Any]] = []
        before: list[Tensor] | None = None
        for step, maps in history.items():
            moved = None if before is None else rounded(change(before, maps))
            steps.append({"step": step, **HeadNumbers.of(maps).rounded(), "change": moved})
            before = maps
        return {
            "about": "entropy (nats), shares of attention on the previous token, the first and itself, and change "
            "(total variation distance to the step before): [layer][head], means over the queries after the first.",
            "sentences": self.words,
            "steps": steps,
        }


def attention_observer(
    model: Transformer, tokenizer: Tokenizer, runtime: LlmRuntime, last_step: int, out: Path
) -> AttentionObserver | None:
    """What ``runtime.attention_maps`` asks for; None if nothing.

    Raises:
        LlmCoreError: it can't be had, which is better known before the training than in it.
    """
    if runtime.attention_maps is None:
        return None
    parallel = runtime.parallel
    if parallel.data == "fsdp" or parallel.tensor > 1 or parallel.pipeline > 1:
        raise LlmCoreError(
            "attention maps need the whole model on one device, and here it is divided.",
            where="runtime.llm.attention_maps",
            fix="Leave the field out, or train with parallel.data: ddp alone.",
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise LlmCoreError(
            "pictures of attention need matplotlib, which isn't installed.",
            where="runtime.llm.attention_maps",
            fix="Install matplotlib, or leave the field out.",
        ) from error
    return AttentionObserver(model, tokenizer, runtime.attention_maps, last_step, out)


def shown_token(tokenizer: Tokenizer, token: int) -> str:
    """A token as a picture can show it: spaces and line ends visible, half characters as bytes."""
    content = tokenizer.bytes_of[token]
    if not content:
        return next((name for name, number in tokenizer.special_ids.items() if number == token), f"<{token}>")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content.hex(" ")
    return "".join(c if c.isprintable() else "\N{RETURN SYMBOL}" for c in text.replace(" ", "\N{MIDDLE DOT}"))
