"""Attention maps are the model's own, looking changes nothing, and what is written survives a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llm_core.config import AttentionMapsConfig, LlmRuntime, ModelConfig, PretrainConfig, PretrainStage
from llm_core.errors import LlmCoreError
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.stages import pretrain
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.attention_maps import (
    AttentionObserver,
    HeadNumbers,
    attention_maps,
    attention_observer,
    change,
    shown_token,
)
from llm_core.train.attention_pictures import chosen
from tests.llm_core.conftest import Toy

SHAPE = {"layers": 2, "dim": 32, "heads": 4, "ffn_dim": 48, "context_length": 24, "dropout": 0.5}


def some_model(vocabulary: int, **changes: object) -> Transformer:
    model = Transformer(ModelConfig.model_validate(SHAPE | changes), vocabulary)
    initialize(model, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_heads": 2, "sliding_window": 3, "full_attention_every": 2},
        {"preset": "gpt2"},
        {"preset": "speed", "kv_heads": 1, "norm_position": "post"},
    ],
)
def test_maps_are_what_the_layers_weigh_values_by(changes: dict[str, object]) -> None:
    model = some_model(90, **changes).train()
    tokens = torch.randint(0, 90, (10,), generator=torch.Generator().manual_seed(3))
    random, seen = torch.get_rng_state(), []
    maps = attention_maps(model, tokens)
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert maps.shape == (2, 4, 10, 10) and maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 4, 10))
    assert torch.equal(maps.triu(1), torch.zeros_like(maps)), "nobody looks ahead"
    if "sliding_window" in changes:
        assert torch.equal(maps[0].tril(-3), torch.zeros(4, 10, 10)) and maps[1].tril(-3).any()

    def compare(attention: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        _, _, v = attention.project(*inputs)  # type: ignore[operator]
        seen.append((maps[len(seen)] @ v.repeat_interleave(4 // v.shape[1], dim=1)[0]).transpose(0, 1).flatten(1))

    model.eval()
    gathered: list[torch.Tensor] = []
    for block in model.blocks:
        block.attention.register_forward_pre_hook(compare)
        block.attention.output.register_forward_pre_hook(lambda _, inputs: gathered.append(inputs[0][0]))
    with torch.no_grad():
        model.hidden(tokens[None])
    for ours, theirs in zip(seen, gathered, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_numbers_of_heads_that_are_known() -> None:
    time = 5
    previous = torch.diag(torch.ones(time - 1), -1)
    previous[0, 0] = 1
    first = torch.zeros(time, time)
    first[:, 0] = 1
    uniform = torch.tril(torch.ones(time, time)) / torch.arange(1, time + 1)[:, None]
    maps = torch.stack([previous, first, torch.eye(time), uniform])[None]  # one layer of four heads
    numbers = HeadNumbers.of([maps])
    assert numbers.previous[0, :3].tolist() == [1, 0.25, 0]  # the second token's previous one is the first
    assert numbers.first[0, :3].tolist() == [0.25, 1, 0]
    assert numbers.itself[0, :3].tolist() == [0, 0, 1]
    assert numbers.entropy[0, :3].tolist() == [0, 0, 0]
    expected = sum(torch.log(torch.tensor(float(n))) for n in range(2, 6)) / 4
    assert numbers.entropy[0, 3] == pytest.approx(float(expected), abs=1e-6)
    assert change([maps], [maps]).tolist() == [[0, 0, 0, 0]]
    assert change([maps[:, :1]], [maps[:, 2:3]]).tolist() == [[pytest.approx(0.8)]], "all but the first query moved"


def test_looking_does_not_change_the_training(toy: Toy, tmp_path: Path) -> None:
    config = PretrainStage(
        model=toy.model.model_copy(update={"dropout": 0.1}),
        train=PretrainConfig(steps=6, batch_tokens=256, eval_every=3, ema_decay=0.5),
    )
    asked = AttentionMapsConfig(sentences=("the cat lies.", "naïve $x$"), steps=(4, 99))
    runtime = toy.runtime.model_copy(update={"attention_maps": asked})
    inputs = {"shards": toy.shards, "tokenizer": toy.tokenizer}
    for name, how in (("without", toy.runtime), ("with", runtime)):
        (tmp_path / name).mkdir()
        pretrain.run(config, inputs, tmp_path / name, no_progress, how)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("without", "with")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "without" / "attention").exists()
    found = sorted(path.name for path in (tmp_path / "with" / "attention").iterdir())
    looked = ("step-00000004", "step-00000006")
    steps = [f"{step}{end}" for step in looked for end in ("-0.png", "-1.png", ".safetensors")]
    assert found == ["change.png", "maps.json", *steps]
    told = json.loads((tmp_path / "with" / "attention" / "maps.json").read_text())
    assert [entry["step"] for entry in told["steps"]] == [4, 6]
    assert told["steps"][0]["change"] is None and torch.tensor(told["steps"][1]["change"]).shape == (2, 2)
    assert told["sentences"][0][:2] == ["<|endoftext|>", "the"]


def test_a_resumed_training_keeps_its_past_and_no_future(toy: Toy, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    model = some_model(tokenizer.vocab_size, layers=1, heads=2)

    def look(*steps: int, sentence: str = "a river") -> list[int]:
        asked = AttentionMapsConfig(sentences=(sentence,), steps=(2, 4, 6))
        observer = AttentionObserver(model, tokenizer, asked, 8, tmp_path)
        for step in filter(observer.is_due, steps):
            observer.look(step)
        return [entry["step"] for entry in json.loads((tmp_path / "attention" / "maps.json").read_text())["steps"]]

    assert look(1, 2, 3, 4, 5) == [2, 4]
    picture = (tmp_path / "attention" / "step-00000002-0.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert look(2) == [2], "what lies ahead comes anew"
    assert (tmp_path / "attention" / "step-00000002-0.png").read_bytes() == picture, "the same maps, the same bytes"
    (tmp_path / "attention" / "step-00000002.safetensors").write_bytes(b"broken")
    assert look(8) == [4, 8]
    assert look(8, sentence="an island") == [8], "maps of another sentence can't be compared with"


def test_what_cannot_be_had_is_said_before_the_training(toy: Toy, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    model = some_model(tokenizer.vocab_size)
    assert attention_observer(model, tokenizer, LlmRuntime(), 8, tmp_path) is None
    divided = LlmRuntime.model_validate({"attention_maps": {}, "parallel": {"processes": 2, "tensor": 2}})
    with pytest.raises(LlmCoreError, match=r"attention_maps.*divided"):
        attention_observer(model, tokenizer, divided, 8, tmp_path)


def test_tokens_are_shown_as_they_are(toy: Toy) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    shown = [shown_token(tokenizer, token) for token in tokenizer.encode(" a\n$é")]
    assert shown == ["·a", "⏎", "$", "c3", "a9"]
    assert shown_token(tokenizer, tokenizer.eot_id) == "<|endoftext|>"
    assert chosen(3, 8) == [0, 1, 2] and chosen(24, 4) == [0, 8, 15, 23]
