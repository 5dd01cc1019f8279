"""Our weights under the names, and in the layout, that Hugging Face's model families give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Family = Literal["gpt2", "llama", "qwen3"]

#: Ours -> theirs, without what both end in (``.weight``, ``.bias``). Llama and Qwen3 share their names.
_LLAMA_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
_LLAMA_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_GPT2_TOP = {
    "embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}
_GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention.output": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
#: GPT-2 keeps the matrices inside its blocks as (inputs, outputs); ours are (outputs, inputs).
_GPT2_TRANSPOSED = ("attn.c_proj", "mlp.c_fc", "mlp.c_proj")
#: One matrix there, three here.
_GPT2_FUSED = "attn.c_attn"
_QKV = ("attention.query", "attention.key", "attention.value")


def to_huggingface(family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors as ``family`` has them. KeyError: the family has no such weight."""
    top, block, blocks = _tables(family)
    theirs: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if not stem.startswith("blocks."):
            theirs[f"{top[stem]}.{kind}"] = tensor
            continue
        _, layer, part = stem.split(".", 2)
        if family != "gpt2":
            theirs[f"{blocks}.{layer}.{block[part]}.{kind}"] = tensor
        elif part == _QKV[0]:
            fused = torch.cat([tensors[f"blocks.{layer}.{one}.{kind}"] for one in _QKV])
            theirs[f"{blocks}.{layer}.{_GPT2_FUSED}.{kind}"] = fused.T if kind == "weight" else fused
        elif part not in _QKV:
            turned = kind == "weight" and block[part] in _GPT2_TRANSPOSED
            theirs[f"{blocks}.{layer}.{block[part]}.{kind}"] = tensor.T if turned else tensor
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def from_huggingface(family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of ``family`` as ours. What isn't a weight (masks, rotary tables in old files) is left out.

    Raises:
        KeyError: a name that the family doesn't have.
    """
    top, block, blocks = _tables(family)
    whole = blocks.partition(".")[0]
    our_top = {theirs: ours for ours, theirs in top.items()}
    our_block = {theirs: ours for ours, theirs in block.items()}
    ours: dict[str, Tensor] = {}
    for given, tensor in tensors.items():
        # Files of the model without its head leave the first part of the name out.
        name = given if given.startswith((f"{whole}.", "lm_head.")) else f"{whole}.{given}"
        stem, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias") or (family == "gpt2" and stem.endswith(".attn")):
            continue
        if stem in our_top:
            ours[f"{our_top[stem]}.{kind}"] = tensor
            continue
        if not stem.startswith(f"{blocks}."):
            raise KeyError(given)
        layer, _, part = stem.removeprefix(f"{blocks}.").partition(".")
        if family == "gpt2" and part == _GPT2_FUSED:
            fused = tensor.T if kind == "weight" else tensor
            for one, third in zip(_QKV, fused.chunk(3), strict=True):
                ours[f"blocks.{layer}.{one}.{kind}"] = third
            continue
        if part not in our_block:
            raise KeyError(given)
        turned = family == "gpt2" and kind == "weight" and part in _GPT2_TRANSPOSED
        ours[f"blocks.{layer}.{our_block[part]}.{kind}"] = tensor.T if turned else tensor
    return ours


def _tables(family: Family) -> tuple[dict[str, str], dict[str, str], str]:
    if family == "gpt2":
        return _GPT2_TOP, _GPT2_BLOCK, "transformer.h"
    return _LLAMA_TOP, _LLAMA_BLOCK, "model.layers"
