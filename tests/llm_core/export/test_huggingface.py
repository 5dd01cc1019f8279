"""Models to and from Hugging Face's form: equal logits in `transformers` both ways, equal text, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from llm_core.chat import render
from llm_core.config import ModelConfig, OptimizerConfig, PretrainConfig, PretrainStage
from llm_core.errors import LlmCoreError
from llm_core.export.families import describe, understand
from llm_core.export.huggingface import export_model, import_model
from llm_core.generate.engine import generate
from llm_core.model.presets import parameter_count
from llm_core.model.storage import load_model, save_model
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.stages import pretrain
from llm_core.tokenizer.encode import Tokenizer
from tests.llm_core.conftest import Toy
from tests.llm_core.stand_ins import random_model

VOCAB = 90
SHAPE = {"layers": 2, "dim": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn_dim": 48, "context_length": 24}
GPT2 = {"preset": "gpt2", "kv_heads": 4, "tie_embeddings": True}
LLAMA = {"qk_norm": False}
#: One of each family, and between them every field that moves.
MODELS = {
    "gpt2": GPT2,
    "gpt2 untied": GPT2 | {"tie_embeddings": False},
    "llama": LLAMA,
    "llama untied, biases, all heads": LLAMA | {"tie_embeddings": False, "bias": True, "kv_heads": 4, "head_dim": 16},
    "llama linear": LLAMA | {"rope_scaling": {"kind": "linear", "factor": 4}},
    "llama ntk": LLAMA | {"rope_scaling": {"kind": "ntk", "factor": 3}},
    "llama llama3": LLAMA | {"rope_scaling": {"kind": "llama3", "factor": 8, "original_context": 12}},
    "qwen3": {"rope_base": 5000.0, "norm_eps": 1e-5},
    "qwen3 untied, one kv head": {"tie_embeddings": False, "kv_heads": 1},
    "qwen3 yarn": {"rope_scaling": {"kind": "yarn", "factor": 2, "original_context": 12}},
    "qwen3 windows": {"layers": 4, "sliding_window": 5, "full_attention_every": 2},
}


def some_model(changes: dict[str, object]) -> Transformer:
    return random_model(ModelConfig.model_validate(SHAPE | changes), VOCAB)


def some_tokens() -> torch.Tensor:
    return torch.randint(0, VOCAB, (2, 24), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers_both_ways(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = some_model(MODELS[name])
    save_model(model, None, tmp_path / "ours")
    architecture = export_model(tmp_path / "ours", tmp_path / "theirs")
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    assert type(peer).__name__ == architecture and architecture.lower().startswith(name.split()[0])
    assert peer.dtype == torch.float32
    tokens = some_tokens()
    with torch.no_grad():
        ours, theirs = model(tokens), peer(tokens).logits
    assert ours.std() > 0.3  # the comparison means something
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)

    with torch.no_grad():  # other weights, and the files as transformers writes them
        generator = torch.Generator().manual_seed(4)
        for parameter in peer.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    peer.save_pretrained(tmp_path / "saved")
    import_model(tmp_path / "saved", tmp_path / "back")
    back = load_model(tmp_path / "back")
    assert set(back.config.model_dump()) and (back.head.weight is back.embedding.weight) is model.config.tie_embeddings
    with torch.no_grad():
        ours, theirs = back(tokens), peer(tokens).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_bfloat16_weights_in_several_files_both_ways(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = some_model(MODELS["qwen3"])
    save_model(model, None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs", precision="bf16")
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    assert peer.dtype == torch.bfloat16
    peer.save_pretrained(tmp_path / "saved", max_shard_size="20KB")
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    import_model(tmp_path / "saved", tmp_path / "back")
    back = load_model(tmp_path / "back").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(back[name], weight.bfloat16().float()), name


def test_gpt2_files_of_the_first_days_are_read(tmp_path: Path) -> None:
    """No ``transformer.`` before the names, and the causal mask among the weights."""
    from safetensors.torch import load_file, save_file

    model = some_model(GPT2)
    save_model(model, None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    file = tmp_path / "theirs" / "model.safetensors"
    old = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(old | {"h.0.attn.bias": torch.ones(1, 1, 24, 24)}, file)
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    (tmp_path / "theirs" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "n_inner"}))
    with pytest.raises(LlmCoreError, match="don't fit"):  # a width of 4 * 32 is not what was trained
        import_model(tmp_path / "theirs", tmp_path / "wrong")
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    import_model(tmp_path / "theirs", tmp_path / "back")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "back")(some_tokens()), model(some_tokens()))


@pytest.mark.parametrize("preset", ["portable", "gpt2"])
def test_a_trained_model_writes_the_same_text_there(toy: Toy, tmp_path: Path, preset: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shape = toy.model.model_dump() | {"context_length": 48}
    fields = {name: shape[name] for name in ("layers", "dim", "heads", "ffn_dim", "context_length")}
    config = PretrainStage(
        model=ModelConfig.model_validate({"preset": preset, **fields}),
        train=PretrainConfig(steps=30, batch_tokens=768, optimizer=OptimizerConfig(lr=1e-2)),
    )
    inputs = {"shards": toy.shards, "tokenizer": toy.tokenizer}
    (tmp_path / "out").mkdir()
    pretrain.run(config, inputs, tmp_path / "out", no_progress, toy.runtime)
    folder = tmp_path / "out" / "model"
    export_model(folder, tmp_path / "theirs")
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    texts = set()
    for prompt in ("the grey wolf", "", " a prime 1234, naïve  \n日本"):
        ids = [tokenizer.eot_id, *tokenizer.encode(prompt)]
        batch = their_tokenizer(prompt, return_tensors="pt")
        assert batch.input_ids.tolist() == [ids]
        ours = list(generate(model, tokenizer, ids, max_tokens=48 - len(ids), temperature=0))
        said = peer.generate(**batch, do_sample=False, max_new_tokens=48 - len(ids))
        text = their_tokenizer.decode(said[0, len(ids) :], skip_special_tokens=True)
        assert text == tokenizer.decode(ours)
        texts.add(text)
    assert len(texts) > 1 and max(map(len, texts)) > 20  # it learned to say something

    talk = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "No."}]
    theirs = their_tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False, add_generation_prompt=True)
    assert theirs == render(talk, tokenizer, add_generation_prompt=True)[0]

    import_model(tmp_path / "theirs", tmp_path / "back")
    back = Tokenizer.load(tmp_path / "back")
    assert back.encode("the grey wolf 12") == tokenizer.encode("the grey wolf 12")
    export_model(tmp_path / "back", tmp_path / "again")
    for file in (tmp_path / "theirs").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preset": "speed"}, "value_embeddings"),
        ({"norm_position": "post"}, "norm_position"),
        ({"positions": "sinusoidal"}, "positions"),
        (LLAMA | {"sliding_window": 4}, "sliding_window"),
        ({"bias": True}, "bias"),
        (GPT2 | {"kv_heads": 2}, "kv_heads"),
        (LLAMA | {"heads": 3, "kv_heads": 3}, "heads"),
    ],
)
def test_what_cannot_be_said_there_is_refused_by_name(changes: dict[str, object], named: str, tmp_path: Path) -> None:
    save_model(some_model(changes), None, tmp_path / "ours")
    with pytest.raises(LlmCoreError, match=f"model.{named}: "):
        export_model(tmp_path / "ours", tmp_path / "theirs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_nothing_is_written_over_and_a_classifier_stays(tmp_path: Path) -> None:
    save_model(some_model({}), None, tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("mine")
    with pytest.raises(LlmCoreError, match="something here already"):
        export_model(tmp_path / "ours", tmp_path / "theirs")
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "mine"
    save_model(some_model({}), None, tmp_path / "ours", extra={"kind": "classifier"})
    with pytest.raises(LlmCoreError, match="classifier"):
        export_model(tmp_path / "ours", tmp_path / "new")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "mamba"}, "'mamba'"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"mlp_bias": True}, "attention_bias and mlp_bias"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 16}}, "beta_fast"),
        ({"num_hidden_layers": "many"}, "shape"),
        ({"rope_scaling": "yes"}, "rope_scaling"),
        ({"architectures": 3}, "architectures"),
        ({"num_hidden_layers": 3}, "don't fit"),
        ({"hidden_size": None}, "shape"),
        ({"tie_word_embeddings": False}, "head.weight"),
    ],
)
def test_what_we_cannot_compute_is_refused_by_name(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    save_model(some_model(LLAMA), None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(LlmCoreError, match=told):
        import_model(tmp_path / "theirs", tmp_path / "back")
    assert not (tmp_path / "back").exists()


LLAMA_3_2_1B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "mlp_bias": False,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
QWEN3_0_6B = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
GPT2_SMALL = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-05,
    "n_ctx": 1024,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
}


@pytest.mark.parametrize(
    ("theirs", "vocabulary", "parameters"),
    [(LLAMA_3_2_1B, 128_256, 1_235_814_400), (QWEN3_0_6B, 151_936, 596_049_920), (GPT2_SMALL, 50_257, 124_439_808)],
)
def test_well_known_models_are_understood(theirs: dict[str, object], vocabulary: int, parameters: int) -> None:
    family, config = understand(theirs, "config.json")
    assert parameter_count(config, vocabulary) == parameters
    told = describe(config, family, vocabulary)
    assert {name: told.get(name) for name in theirs if name in told} == {k: v for k, v in theirs.items() if k in told}


def test_layers_that_follow_no_rule_are_refused(tmp_path: Path) -> None:
    save_model(some_model(MODELS["qwen3 windows"]), None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    path = tmp_path / "theirs" / "config.json"
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_types": kinds}))
    with pytest.raises(LlmCoreError, match="layer_types"):
        import_model(tmp_path / "theirs", tmp_path / "back")


def test_weights_that_are_pickle_missing_or_broken(tmp_path: Path) -> None:
    save_model(some_model(LLAMA), None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    weights = tmp_path / "theirs" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:200])
    with pytest.raises(LlmCoreError, match="can't be read"):
        import_model(tmp_path / "theirs", tmp_path / "back")
    weights.unlink()
    with pytest.raises(LlmCoreError, match="no weights"):
        import_model(tmp_path / "theirs", tmp_path / "back")
    (tmp_path / "theirs" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(LlmCoreError, match="pickle"):
        import_model(tmp_path / "theirs", tmp_path / "back")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "theirs" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LlmCoreError, match="model-00001-of-00002"):
        import_model(tmp_path / "theirs", tmp_path / "back")
    for rubbish in ("{", "[]"):
        (tmp_path / "theirs" / "config.json").write_text(rubbish)
        with pytest.raises(LlmCoreError, match="JSON"):
            import_model(tmp_path / "theirs", tmp_path / "back")
    with pytest.raises(LlmCoreError, match="can't be read"):
        import_model(tmp_path / "nowhere", tmp_path / "back")


def test_a_foreign_tokenizer_is_kept_and_loading_says_what_it_lacks(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Library
    from tokenizers.models import BPE

    save_model(some_model(LLAMA), None, tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs" / "generation_config.json").read_text()) == {}
    Library(BPE(vocab={"a": 0, "b": 1}, merges=[])).save(str(tmp_path / "theirs" / "tokenizer.json"))
    assert import_model(tmp_path / "theirs", tmp_path / "back") == load_model(tmp_path / "back").num_parameters()
    with pytest.raises(LlmCoreError, match=r"lacks the special tokens.*<\|endoftext\|>"):
        Tokenizer.load(tmp_path / "back")
    export_model(tmp_path / "back", tmp_path / "again")
    kept = (tmp_path / "again" / "tokenizer.json").read_bytes()
    assert kept == (tmp_path / "theirs" / "tokenizer.json").read_bytes()
