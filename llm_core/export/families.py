"""Our shapes in the words of Hugging Face's ``config.json``, and theirs in ours; what one side can't say is refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from llm_core.config import ModelConfig, RopeScaling
from llm_core.errors import LlmCoreError
from llm_core.export.weight_names import Family
from llm_core.model.shape import head_shape, window_of

ARCHITECTURES: dict[Family, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_ALL = {"norm_position": "pre", "value_embeddings": False, "residual_scalars": False, "logit_softcap": None}
_GPT2 = {"norm": "layernorm", "positions": "learned", "feed_forward": "gelu", "bias": True, "qk_norm": False}
_LLAMA = {"norm": "rmsnorm", "positions": "rotary", "feed_forward": "swiglu"}
#: What each family takes for granted.
_REQUIRED: dict[Family, dict[str, Any]] = {
    "gpt2": _ALL | _GPT2 | {"sliding_window": None},
    "llama": _ALL | _LLAMA | {"qk_norm": False, "sliding_window": None},
    "qwen3": _ALL | _LLAMA | {"qk_norm": True, "bias": False},
}


def family_of(config: ModelConfig) -> Family:
    """The family that ``config`` is one of.

    Raises:
        LlmCoreError: none; it names each field that stands in the way.
    """
    family: Family = "gpt2" if config.positions == "learned" else "qwen3" if config.qk_norm else "llama"
    heads, kv_heads, head_dim = head_shape(config)
    wrong = {f: getattr(config, f) for f, value in _REQUIRED[family].items() if getattr(config, f) != value}
    if family == "gpt2" and kv_heads != heads:
        wrong["kv_heads"] = kv_heads
    if family == "gpt2" and heads * head_dim != config.dim:
        wrong["head_dim"] = head_dim
    if family == "llama" and config.dim % heads:
        wrong["heads"] = heads
    if wrong:
        told = ", ".join(f"model.{field}: {value}" for field, value in wrong.items())
        raise LlmCoreError(
            f"Hugging Face's {ARCHITECTURES[family]}, which comes nearest to this model, doesn't have {told}.",
            fix="Train with preset portable or gpt2 for a model that moves to other runtimes.",
        )
    return family


# ------------------------------------------------------------------------------------------------ ours -> theirs


def describe(config: ModelConfig, family: Family, vocab_size: int) -> dict[str, Any]:
    """The part of ``config.json`` that says the shape, in the form that transformers 4 and 5 both read."""
    heads, kv_heads, head_dim = head_shape(config)
    told: dict[str, Any] = {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        "initializer_range": 0.02,
    }
    if family == "gpt2":
        return told | {
            "n_positions": config.context_length,
            "n_embd": config.dim,
            "n_layer": config.layers,
            "n_head": heads,
            "n_inner": config.ffn_dim,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
        }
    theta, scaling = _rope(config)
    told |= {
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "attention_bias": config.bias,
        "attention_dropout": config.dropout,
    }
    if family == "llama":
        return told | {"mlp_bias": config.bias}
    windows = [window_of(config, layer) for layer in range(config.layers)]
    return told | {
        "use_sliding_window": any(windows),
        "sliding_window": config.sliding_window if any(windows) else None,
        "max_window_layers": windows.index(next(filter(None, windows))) if any(windows) else config.layers,
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


def _rope(config: ModelConfig) -> tuple[float, dict[str, Any] | None]:
    scaling = config.rope_scaling
    if scaling is None:
        return config.rope_base, None
    if scaling.kind == "ntk":  # nothing but another base
        head_dim = head_shape(config)[2]
        return config.rope_base * scaling.factor ** (head_dim / max(1, head_dim - 2)), None
    told: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        told["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        told |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    return config.rope_base, told


# ------------------------------------------------------------------------------------------------ theirs -> ours

#: Fields that must have these values (or be absent, where the first one is what absence means).
_EXPECTED: dict[Family, dict[str, tuple[Any, ...]]] = {
    "gpt2": {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    "llama": {"hidden_act": ("silu",), "partial_rotary_factor": (None, 1.0)},
    "qwen3": {"hidden_act": ("silu",), "partial_rotary_factor": (None, 1.0), "attention_bias": (False, None)},
}
#: The same for parameters of rotary positions; the values are those of the YaRN paper.
_ROPE_EXPECTED: dict[str, tuple[Any, ...]] = {
    "partial_rotary_factor": (None, 1.0),
    "attention_factor": (None,),
    "mscale": (None,),
    "mscale_all_dim": (None,),
    "beta_fast": (None, 32),
    "beta_slow": (None, 1),
    "truncate": (None, True),
}


class _Fields(BaseModel):
    """The fields that are looked into before :class:`ModelConfig` checks what they mean."""

    model_config = ConfigDict(extra="allow")

    architectures: list[str] | None = None
    n_embd: int | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    use_sliding_window: bool | None = None
    sliding_window: PositiveInt | None = None
    max_window_layers: int = 28
    layer_types: list[str] | None = None


def understand(theirs: dict[str, Any], where: str) -> tuple[Family, ModelConfig]:
    """The shape that a Hugging Face ``config.json`` says.

    Args:
        where: the file, for messages.

    Raises:
        LlmCoreError: another architecture, or one of its fields has a value that this program can't compute.
    """
    known = ", ".join(ARCHITECTURES.values())
    try:
        theirs = _Fields.model_validate(theirs).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise LlmCoreError(f"the shape can't be used: {error}", where=where) from error
    family = next((one for one in ARCHITECTURES if one == theirs.get("model_type")), None)
    if family is None:
        kind = theirs.get("model_type")
        raise LlmCoreError(f"models of the type {kind!r} are not known.", where=where, fix=f"Known: {known}.")
    architectures = theirs.get("architectures") or [ARCHITECTURES[family]]
    if ARCHITECTURES[family] not in architectures and not architectures[0].endswith("Model"):
        raise LlmCoreError(f"{architectures[0]} is no language model.", where=where, fix=f"Known: {known}.")
    expected = _EXPECTED[family] | {"quantization_config": (None,)}
    _check(theirs, expected, where)
    try:
        shape = _gpt2_shape(theirs) if family == "gpt2" else _llama_shape(theirs, family, where)
        config = ModelConfig.model_validate({name: value for name, value in shape.items() if value is not None})
    except KeyError as error:
        raise LlmCoreError(f"the field {error} is missing.", where=where) from None
    except ValidationError as error:
        raise LlmCoreError(f"the shape can't be used: {error}", where=where) from error
    if family == "qwen3":
        config = _with_windows(config, theirs, where)
    return family, config


def _check(theirs: dict[str, Any], expected: dict[str, tuple[Any, ...]], where: str) -> None:
    for name, values in expected.items():
        if theirs.get(name, values[0]) not in values:
            raise LlmCoreError(f"{name} is {theirs[name]!r}, which this program can't compute.", where=where)


def _gpt2_shape(theirs: dict[str, Any]) -> dict[str, Any]:
    return {
        "preset": "gpt2",
        "layers": theirs["n_layer"],
        "dim": theirs["n_embd"],
        "heads": theirs["n_head"],
        "ffn_dim": theirs.get("n_inner") or 4 * theirs["n_embd"],
        "context_length": theirs.get("n_positions", 1024),
        "norm_eps": theirs.get("layer_norm_epsilon", 1e-5),
        "tie_embeddings": theirs.get("tie_word_embeddings", True),
        "dropout": theirs.get("resid_pdrop", 0.1),
    }


def _llama_shape(theirs: dict[str, Any], family: Family, where: str) -> dict[str, Any]:
    biases = bool(theirs.get("attention_bias")), bool(theirs.get("mlp_bias"))
    if family == "llama" and biases[0] != biases[1]:
        raise LlmCoreError("attention_bias and mlp_bias differ; here all matrices have one, or none.", where=where)
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    return {
        "layers": theirs["num_hidden_layers"],
        "dim": theirs["hidden_size"],
        "heads": theirs["num_attention_heads"],
        "kv_heads": theirs.get("num_key_value_heads"),
        "head_dim": theirs.get("head_dim") or (128 if family == "qwen3" else None),
        "ffn_dim": theirs["intermediate_size"],
        "context_length": theirs.get("max_position_embeddings", 2048 if family == "llama" else 32768),
        "norm_eps": theirs.get("rms_norm_eps", 1e-6),
        "rope_base": rope.get("rope_theta") or theirs.get("rope_theta") or 10_000.0,
        "rope_scaling": _scaling(rope, theirs, where),
        "bias": biases[0],
        "qk_norm": family == "qwen3",
        "tie_embeddings": theirs.get("tie_word_embeddings", False),
    }


def _scaling(rope: dict[str, Any], theirs: dict[str, Any], where: str) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if any(isinstance(value, dict) for value in rope.values()) or kind not in ("default", "linear", "llama3", "yarn"):
        raise LlmCoreError(f"rotary positions of the type {kind!r} are not known.", where=where)
    _check(rope, _ROPE_EXPECTED, where)
    if kind == "default":
        return None
    original = rope.get("original_max_position_embeddings") or theirs.get("max_position_embeddings")
    named = {"kind": kind, "factor": rope["factor"], "original_context": original}
    named |= {name: rope[name] for name in ("low_freq_factor", "high_freq_factor") if kind == "llama3"}
    return RopeScaling.model_validate({name: value for name, value in named.items() if value is not None})


def _with_windows(config: ModelConfig, theirs: dict[str, Any], where: str) -> ModelConfig:
    """Which layers see how far, if that is a rule that we can say."""
    window = theirs.get("sliding_window") if theirs.get("use_sliding_window") else None
    if window is None:
        return config
    first = theirs.get("max_window_layers", 28)
    kinds = theirs.get("layer_types") or [
        "sliding_attention" if layer >= first else "full_attention" for layer in range(config.layers)
    ]
    every = kinds.index("full_attention") + 1 if "full_attention" in kinds else 0
    said = config.model_copy(update={"sliding_window": window, "full_attention_every": every})
    wanted = [window if kind == "sliding_attention" and window < config.context_length else None for kind in kinds]
    if wanted != [window_of(said, layer) for layer in range(config.layers)]:
        raise LlmCoreError(
            "the layers with a sliding window (layer_types) follow no rule that this program has.", where=where
        )
    return said
