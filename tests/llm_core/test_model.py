"""The transformer: causal, the same with and without a cache, its parts equal to their equations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from llm_core.config import ModelConfig
from llm_core.errors import LlmCoreError
from llm_core.model.initialization import STD, initialize
from llm_core.model.normalization import RMSNorm, rms_norm_reference
from llm_core.model.positions import rotate
from llm_core.model.presets import forward_flops_per_token, parameter_count, training_flops_per_token
from llm_core.model.storage import load_extra_tensors, load_model, read_description, save_model
from llm_core.model.transformer import Transformer
from tests.llm_core.stand_ins import random_model

VOCAB = 300


def small_config(**changes: object) -> ModelConfig:
    values = {"layers": 2, "dim": 48, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn_dim": 80, "context_length": 32}
    return ModelConfig.model_validate(values | changes)


def small_model(**changes: object) -> Transformer:
    return random_model(small_config(**changes), VOCAB)


def some_tokens(batch: int = 2, time: int = 32) -> torch.Tensor:
    return torch.randint(0, VOCAB, (batch, time), generator=torch.Generator().manual_seed(3))


def test_norm_and_its_gradient_are_the_equations() -> None:
    torch.manual_seed(0)
    norm = RMSNorm(16, 1e-5)
    with torch.no_grad():
        norm.weight.add_(torch.randn(16))
    x = torch.randn(3, 5, 16, requires_grad=True)
    same_x, same_weight = x.detach().clone().requires_grad_(), norm.weight.detach().clone().requires_grad_()
    ours, expected = norm(x), rms_norm_reference(same_x, same_weight, 1e-5)
    torch.testing.assert_close(ours, expected)
    direction = torch.randn_like(ours)
    ours.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(x.grad, same_x.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.weight.grad, same_weight.grad, atol=1e-5, rtol=1e-5)


def test_future_tokens_do_not_change_the_past() -> None:
    model, tokens = small_model(), some_tokens()
    changed = tokens.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20], atol=1e-6, rtol=0)
    assert (before[:, 20:] - after[:, 20:]).abs().amax(dim=-1).min() > 1e-3


def test_rotary_product_depends_on_the_distance_only() -> None:
    model = small_model()
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def product(query_at: int, key_at: int) -> torch.Tensor:
        turned_q = rotate(q, *model.rotary.tables(torch.tensor([query_at])))
        return (turned_q * rotate(k, *model.rotary.tables(torch.tensor([key_at])))).sum()

    torch.testing.assert_close(product(3, 1), product(29, 27))
    assert abs(product(3, 1) - product(3, 2)) > 1e-4


@pytest.mark.parametrize("shape", [(5, 1, 3), (2, 5, 1, 3)], ids=["one position each", "by row"])
def test_rotation_and_its_gradient_are_a_product_of_complex_numbers(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    angle = torch.randn(shape, generator=generator, dtype=torch.float64)
    turned = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(rotate(x, angle.cos(), angle.sin()), torch.cat((turned.real, turned.imag), dim=-1))
    assert torch.autograd.gradcheck(lambda x: rotate(x, angle.cos(), angle.sin()), x)


@pytest.mark.parametrize("pieces", [[32], [1] * 32, [7, 1, 1, 12, 11]])
def test_cached_pieces_give_the_same_logits(pieces: list[int]) -> None:
    model, tokens = small_model(), some_tokens()
    cache = model.new_cache(batch=2)
    with torch.no_grad():
        whole = model(tokens)
        parts = torch.cat([model(part, cache=cache) for part in tokens.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_a_text_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="context of 32"):
        small_model()(some_tokens(time=33))


def test_explicit_positions_are_used() -> None:
    model, tokens = small_model(), some_tokens(time=8)
    with torch.no_grad():
        default = model.hidden(tokens)
        given = model.hidden(tokens, positions=torch.arange(8).expand(2, 8))
        stretched = model.hidden(tokens, positions=torch.arange(8) * 3)
    torch.testing.assert_close(default, given)
    assert (default - stretched).abs().max() > 1e-3


def test_bfloat16_autocast_stays_close_and_returns_fp32() -> None:
    model, tokens = small_model(), some_tokens()
    with torch.no_grad():
        exact = model(tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = model(tokens)
    assert narrow.dtype == torch.float32
    assert F.cosine_similarity(exact.flatten(), narrow.flatten(), dim=0) > 0.999
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.hidden(tokens).square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all()


def test_initialization_is_seeded_and_scaled() -> None:
    models = [Transformer(small_config(dim=128), VOCAB) for _ in range(3)]
    for model, seed in zip(models, [1, 1, 2], strict=True):
        initialize(model, seed)
    first, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    assert first["blocks.0.feed_forward.gate.weight"].std() == pytest.approx(STD, rel=0.1)
    assert first["blocks.1.attention.output.weight"].std() == pytest.approx(STD / 2, rel=0.1)  # / sqrt(2 * 2 layers)
    assert torch.equal(first["norm.weight"], torch.ones(128))


@pytest.mark.parametrize("tied", [True, False])
def test_counts(tied: bool) -> None:
    config = small_config(tie_embeddings=tied)
    assert Transformer(config, VOCAB).num_parameters() == parameter_count(config, VOCAB)
    matrices = 2 * (48 * 16 * (8 + 4) + 3 * 48 * 80) + VOCAB * 48
    assert forward_flops_per_token(config, VOCAB) == 2 * matrices + 2 * 4 * 4 * 16 * 33 / 2
    assert training_flops_per_token(config, VOCAB) == 3 * forward_flops_per_token(config, VOCAB)


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back(tmp_path: Path, tied: bool) -> None:
    model = small_model(tie_embeddings=tied)
    save_model(model, None, tmp_path, extra={"step": 7}, extra_tensors={"classifier.weight": torch.ones(3, 48)})
    loaded = load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(some_tokens()), model(some_tokens()))
    assert loaded.config == model.config and not loaded.training
    assert (loaded.head.weight is loaded.embedding.weight) is tied
    assert read_description(tmp_path)["extra"] == {"step": 7}
    assert torch.equal(load_extra_tensors(tmp_path)["classifier.weight"], torch.ones(3, 48))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    save_model(small_model(), None, tmp_path)
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(LlmCoreError, match=r"model\.safetensors.*sha256"):
        load_model(tmp_path)
    weights.write_bytes(content[:-10])
    with pytest.raises(LlmCoreError, match=r"model\.safetensors.*bytes"):
        load_model(tmp_path)
    with pytest.raises(LlmCoreError, match=r"model\.safetensors.*can't be read"):
        load_model(tmp_path, verify=False)
    weights.unlink()
    with pytest.raises(LlmCoreError, match="missing"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LlmCoreError, match=r"config\.json.*JSON"):
        load_model(tmp_path)
    with pytest.raises(LlmCoreError, match="no model here"):
        load_model(tmp_path / "nowhere")
