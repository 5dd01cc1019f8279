"""Every kind of model that the configuration can say: causal, cached, counted, saved, initialized, recomputed alike."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llm_core.config import ModelConfig, OptimizerConfig
from llm_core.model.initialization import initialize
from llm_core.model.presets import (
    CHECKPOINTING,
    activation_bytes_per_token,
    forward_flops_per_token,
    keys_seen,
    memory_plan,
    parameter_count,
    parameter_counts,
)
from llm_core.model.shape import window_of
from llm_core.model.sizes import SIZES
from llm_core.model.storage import load_model, save_model
from llm_core.model.transformer import Transformer
from llm_core.optim import Optimizer
from llm_core.train.objectives import GPU_CHUNK
from tests.llm_core.stand_ins import random_model

VOCAB = 120
SHAPE = {"layers": 3, "dim": 32, "heads": 4, "ffn_dim": 48, "context_length": 16}
#: Together they hold every value of every choice.
KINDS: dict[str, dict[str, Any]] = {
    "portable": {"kv_heads": 2},
    "gpt2": {"preset": "gpt2"},
    "speed": {"preset": "speed", "kv_heads": 2},
    "vaswani": {"preset": "gpt2", "norm_position": "post", "positions": "sinusoidal", "qk_norm": True},
    "windows": {"sliding_window": 5, "full_attention_every": 2, "head_dim": 12, "kv_heads": 1, "logit_softcap": 5.0},
    "post": {"norm_position": "post", "norm": "rmsnorm", "bias": True, "tie_embeddings": False, "positions": "learned"},
    "values": {"value_embeddings": True, "feed_forward": "relu_squared", "sliding_window": 4, "qk_norm": False},
    "yarn": {"rope_scaling": {"kind": "yarn", "factor": 4, "original_context": 8}, "norm": "layernorm"},
}


def model_of(kind: str, **changes: object) -> Transformer:
    return random_model(ModelConfig.model_validate(SHAPE | KINDS[kind] | changes), VOCAB)


def some_tokens(batch: int = 2, time: int = 16) -> torch.Tensor:
    return torch.randint(0, VOCAB, (batch, time), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", KINDS)
def test_it_never_looks_ahead_and_pieces_give_the_same(kind: str) -> None:
    model, tokens = model_of(kind), some_tokens()
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % VOCAB
    with torch.no_grad():
        whole, other = model(tokens), model(changed)
        torch.testing.assert_close(whole[:, :9], other[:, :9], atol=1e-5, rtol=0)
        assert (whole[:, 9:] - other[:, 9:]).abs().amax(dim=-1).min() > 1e-3
        for pieces in ([1] * 16, [7, 1, 1, 7]):
            cache = model.new_cache(batch=2)
            parts = torch.cat([model(part, cache=cache) for part in tokens.split(pieces, dim=1)], dim=1)
            torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_a_row_are_read_as_if_alone(kind: str) -> None:
    model, tokens = model_of(kind), some_tokens(batch=1)
    ids = torch.tensor([[0] * 3 + [1] * 6 + [2] * 7])
    with torch.no_grad():
        together = model(tokens, document_ids=ids)
        alone = torch.cat([model(piece) for piece in tokens.split([3, 6, 7], dim=1)], dim=1)
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        assert (model(tokens)[:, 3:] - alone[:, 3:]).abs().max() > 1e-2  # without the mask they do matter
    with pytest.raises(ValueError, match="documents"):
        model(tokens, cache=model.new_cache(), document_ids=ids)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_initialized_updated_and_saved(kind: str, tmp_path: Path) -> None:
    models = [Transformer(ModelConfig.model_validate(SHAPE | KINDS[kind]), VOCAB) for _ in range(2)]
    model, twin = models
    for each in models:
        initialize(each, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert model.num_parameters() == parameter_count(model.config, VOCAB)
    counts = parameter_counts(model.config, VOCAB)
    assert counts.blocks == sum(p.numel() for n, p in model.named_parameters() if n.startswith(("blocks.", "norm.")))
    groups = Optimizer(model, OptimizerConfig(name="muon")).groups
    assert not [name for name in groups.muon if "embedding" in name or "norm" in name]
    assert all("embedding" not in name or name.startswith("blocks.") for name in groups.plain)
    save_model(model, None, tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(some_tokens()), model.eval()(some_tokens()))


def test_zero_init_begins_as_the_embedding_alone() -> None:
    model = Transformer(ModelConfig.model_validate(SHAPE | {"zero_init": True}), VOCAB).eval()
    initialize(model, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.hidden(some_tokens()), model.norm(model.embedding(some_tokens())))


@pytest.mark.parametrize(("kind", "dropout"), [("portable", 0.0), ("gpt2", 0.3), ("speed", 0.0), ("windows", 0.2)])
def test_recomputing_changes_no_gradient(kind: str, dropout: float) -> None:
    def gradients(mode: Any) -> list[torch.Tensor]:
        model = model_of(kind, dropout=dropout).train()
        model.activation_checkpointing = mode
        torch.manual_seed(4)
        F.cross_entropy(model(some_tokens()).flatten(0, 1), some_tokens().flatten()).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = gradients("none")
    assert len(plain) == len(list(model_of(kind).parameters()))  # every parameter has a say
    for mode in ("selective", "full"):
        assert all(torch.equal(a, b) for a, b in zip(plain, gradients(mode), strict=True)), mode


@pytest.mark.parametrize("mode", CHECKPOINTING)
def test_recomputing_runs_again_what_it_says(mode: Any) -> None:
    """Matrix products of a forward and backward pass, counted."""
    from torch.utils.flop_counter import FlopCounterMode

    model = model_of("portable").train()
    model.activation_checkpointing = mode
    with FlopCounterMode(display=False) as counter:
        model.hidden(some_tokens()).sum().backward()
    products = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    forward = 2 * 32 * (parameter_counts(model.config, VOCAB).blocks - 32 * 7 - 2 * 3 * 8)  # norms multiply nothing
    last = 3 * 2 * 32 * 32 * 48  # a block's last product isn't needed again
    assert products == (4 * forward - last if mode == "full" else 3 * forward)


@pytest.mark.slow
def test_it_compiles_as_one_graph() -> None:
    """Without PyTorch's code generator: what is compiled, not how fast it is."""
    model, documents = model_of("speed", sliding_window=5).train(), torch.tensor([[0] * 3 + [1] * 6 + [2] * 7] * 2)
    model.activation_checkpointing = "full"
    compiled = torch.compile(model.hidden, backend="aot_eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(
        compiled(some_tokens(), document_ids=documents), model.hidden(some_tokens(), document_ids=documents)
    )


def test_dropout_falls_in_training_only_and_everywhere() -> None:
    model = model_of("gpt2", dropout=0.5)
    with torch.no_grad():
        assert torch.equal(model(some_tokens()), model(some_tokens()))
        model.train()
        assert not torch.equal(model(some_tokens()), model(some_tokens()))
        q = torch.randn(1, 2, 64, 8)
        from llm_core.model.attention import attention, look

        dropped = attention(q, q, torch.eye(64)[None, None].expand(1, 2, 64, 64), look(64, 64), dropout=0.5)
    below = torch.ones(64, 64).tril() > 0
    assert 0.4 < (dropped[:, :, below] == 0).float().mean() < 0.6


def test_softcap_bounds_logits() -> None:
    capped, free = model_of("windows", logit_softcap=0.5), model_of("windows", logit_softcap=None)
    with torch.no_grad():
        scores = free(some_tokens())
        torch.testing.assert_close(capped(some_tokens()), 0.5 * torch.tanh(scores / 0.5))
    assert scores.abs().max() > 0.5


@pytest.mark.parametrize("pre", [True, False])
def test_a_block_is_the_layer_of_the_textbook(pre: bool) -> None:
    """PyTorch's own nn.TransformerEncoderLayer with a causal mask: pre- and post-norm, LayerNorm, biases."""
    model = model_of("gpt2", layers=1, norm_position="pre" if pre else "post")
    block = model.blocks[0]
    peer = nn.TransformerEncoderLayer(
        32, 4, 48, 0.0, lambda x: F.gelu(x, approximate="tanh"), batch_first=True, norm_first=pre
    ).eval()
    joined = [getattr(block.attention, name) for name in ("query", "key", "value")]
    with torch.no_grad():
        peer.self_attn.in_proj_weight.copy_(torch.cat([one.weight for one in joined]))
        peer.self_attn.in_proj_bias.copy_(torch.cat([one.bias for one in joined]))
        for theirs, ours in [
            (peer.self_attn.out_proj, block.attention.output),
            (peer.linear1, block.feed_forward.up),
            (peer.linear2, block.feed_forward.down),
            (peer.norm1, block.attention_norm),
            (peer.norm2, block.feed_forward_norm),
        ]:
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
        x = model.embed(some_tokens(), torch.arange(16))
        ours = block(x, model.surroundings(x, torch.arange(16), None, None))
        theirs = peer(x, src_mask=nn.Transformer.generate_square_subsequent_mask(16), is_causal=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_every_so_many_layers_see_everything() -> None:
    config = ModelConfig.model_validate(SHAPE | {"layers": 5, "sliding_window": 4, "full_attention_every": 2})
    assert [window_of(config, layer) for layer in range(5)] == [4, None, 4, None, 4]
    none = config.model_copy(update={"full_attention_every": 0})
    assert [window_of(none, layer) for layer in range(2)] == [4, 4]
    assert window_of(none.model_copy(update={"sliding_window": 16}), 0) is None  # as long as the context


@pytest.mark.parametrize("window", [None, 1, 5, 16, 99])
def test_keys_seen_by_counting(window: int | None) -> None:
    counted = sum(min(position + 1, window or 16) for position in range(16)) / 16
    assert keys_seen(window, 16) == pytest.approx(counted)


def test_windows_cost_fewer_operations() -> None:
    full, narrow = ModelConfig(context_length=512), ModelConfig(context_length=512, sliding_window=64)
    saved = forward_flops_per_token(full, VOCAB) - forward_flops_per_token(narrow, VOCAB)
    assert saved == pytest.approx(6 * 6 * 64 * 4 * (256.5 - keys_seen(64, 512)))


@pytest.mark.parametrize("kind", ["portable", "gpt2", "values"])
def test_activations_are_as_many_as_planned(kind: str) -> None:
    """What autograd really keeps for a layer's backward pass in fp32."""

    def kept_per_token(layers: int) -> float:
        model = model_of(kind, layers=layers, dim=64, ffn_dim=160, context_length=64, sliding_window=None)
        own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = model.train().hidden(some_tokens(2, 64))
        assert states.requires_grad
        return sum(sizes.values()) / 128

    config = model_of(kind, dim=64, ffn_dim=160, context_length=64, sliding_window=None).config
    planned = activation_bytes_per_token(config, "fp32", "none") / config.layers
    assert (kept_per_token(6) - kept_per_token(2)) / 4 == pytest.approx(planned, rel=0.15)


def test_memory_plan_adds_up() -> None:
    config = ModelConfig(size="124m")
    total = parameter_count(config, 32768)

    def plan(**changes: Any) -> Any:
        options = {"optimizer": OptimizerConfig(), "precision": "fp32", "rows": 8}
        return memory_plan(config, 32768, **(options | changes))

    adamw = plan()
    assert adamw.weights == adamw.gradients == adamw.optimizer / 2 == 4 * total
    assert adamw.total == adamw.fixed + adamw.activations
    assert inspect.signature(memory_plan).parameters["chunk_rows"].default == GPU_CHUNK
    assert plan(optimizer=OptimizerConfig(name="muon")).optimizer < adamw.optimizer
    assert plan(rows=16).activations == 2 * adamw.activations
    assert plan(average=True).total - adamw.total == 4 * total
    assert plan(divided_among=4).optimizer == adamw.optimizer // 4
    assert plan(precision="bf16").activations < adamw.activations
    modes = [plan(checkpointing=mode).activations for mode in CHECKPOINTING]
    assert modes[0] > modes[1] > modes[2]


def test_named_sizes_are_what_their_names_say() -> None:
    scale = {"m": 1e6, "b": 1e9}
    for name in SIZES:
        total = parameter_count(ModelConfig(size=name), {"1m": 1024, "15m": 16384}.get(name, 32768))
        assert total == pytest.approx(float(name[:-1]) * scale[name[-1]], rel=0.25), name
    assert ModelConfig(size="124m", layers=3).layers == 3  # what is said wins


def test_gpt2_has_the_published_number_of_parameters() -> None:
    config = ModelConfig(preset="gpt2", layers=12, dim=768, heads=12, ffn_dim=3072, context_length=1024)
    assert parameter_count(config, 50257) == 124_439_808


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"positions": "learned", "rope_scaling": {}}, "rope_scaling is for rotary positions"),
        ({"full_attention_every": 2}, "needs a sliding_window"),
        ({"rope_scaling": {"low_freq_factor": 4}}, "must be above low_freq_factor"),
        ({"size": "2m"}, "there is no size '2m'; known: 1m, 15m"),
        ({"head_dim": 7}, "even head_dim"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ModelConfig.model_validate(SHAPE | changes)
