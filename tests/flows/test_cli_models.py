"""generate, chat and classify on a model that is small and knows nothing: what comes out has the right form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app

TEXTS = [f"The {thing} of number {n} is near the old river." for n in range(40) for thing in ("city", "island", "sum")]
LABELS = ["places [1]", "numbers"]


def groundup(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model in ``language/``, a classifier in ``classifier/model/`` as a stage leaves it."""
    import torch

    from llm_core.adapt.classify import TextClassifier, save_classifier
    from llm_core.config import ModelConfig, TokenizerConfig
    from llm_core.model.storage import save_model
    from llm_core.model.transformer import Transformer
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.tokenizer.train import save_tokenizer, train_tokenizer

    root = tmp_path_factory.mktemp("models")
    save_tokenizer(train_tokenizer(TEXTS, TokenizerConfig(vocab_size=300)), root / "tokenizer")
    vocabulary = Tokenizer.load(root / "tokenizer").vocab_size
    torch.manual_seed(1)
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=32, context_length=32), vocabulary)
    save_model(model, root / "tokenizer", root / "language")
    save_classifier(TextClassifier(model, 2), root / "tokenizer", root / "classifier" / "model", LABELS, 16)
    return root


def test_generate_begins_with_the_prompt_and_repeats_with_the_seed(models: Path) -> None:
    def said(*more: str) -> str:
        arguments = ("generate", str(models / "language"), "--prompt", "The city", "--max-tokens", "60")
        return groundup(*arguments, "--device", "cpu", *more).output

    first = said("--seed", "3")
    assert first.startswith("The city") and len(first) > len("The city\n")
    assert said("--seed", "3") == first
    hot = ("--temperature", "9", "--top-k", "0", "--top-p", "1")  # untrained, it would repeat itself otherwise
    assert said("--seed", "3", *hot) != said("--seed", "4", *hot)
    assert said("--temperature", "0") == said("--temperature", "0")


def test_chat_answers_line_by_line(models: Path) -> None:
    stdin = "What is it?\n\n/reset\n" + "A question that is far longer than the window. " * 5 + "\n/exit\nnever asked\n"
    result = groundup("chat", str(models / "language"), "--max-tokens", "5", "--seed", "1", stdin=stdin)
    assert "you>" not in result.output
    assert len(result.output.splitlines()) >= 2


def test_classify_gives_probabilities(models: Path) -> None:
    result = groundup("classify", "--model", str(models / "classifier"), "--json", stdin="one text\n\nanother\n")
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["text"] for row in rows] == ["one text", "another"]
    for row in rows:
        assert set(row["probabilities"]) == set(LABELS)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)


def test_classify_shows_a_label_that_looks_like_markup(models: Path) -> None:
    shown = groundup("classify", "a text", "--model", str(models / "classifier"), "--top", "2").output
    assert "places [1]" in shown and "%" in shown


def test_conversation_keeps_its_last_turns(models: Path) -> None:
    from flows.commands.models import fit_conversation
    from llm_core.chat import render
    from llm_core.tokenizer.encode import Tokenizer

    tokenizer = Tokenizer.load(models / "tokenizer")
    turns = [{"role": role, "content": f"{role} {number}"} for number in range(4) for role in ("user", "assistant")] + [
        {"role": "user", "content": "last"}
    ]
    whole, _ = render(turns, tokenizer, add_generation_prompt=True)
    assert fit_conversation(turns, tokenizer, len(whole)) == (whole, 0)
    ids, left_out = fit_conversation(turns, tokenizer, len(whole) - 1)
    assert left_out == 2, "a question goes together with its answer"
    assert ids == whole[-len(ids) :]
    ids, left_out = fit_conversation(turns, tokenizer, 3)
    assert len(ids) == 3 and ids == whole[-3:] and left_out == len(turns) - 1


def test_export_and_import_give_the_same_model_back(models: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "theirs", tmp_path / "ours"
    assert groundup("export", str(models / "language"), str(out), "--precision", "bf16").output.endswith("bf16\n")
    assert json.loads((out / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    assert groundup("export", str(models / "language"), str(tmp_path / "exact")).exit_code == 0
    assert "parameters" in groundup("import", str(tmp_path / "exact"), str(back)).output
    said = [
        groundup("generate", str(folder), "--prompt", "The", "--seed", "3", "--device", "cpu").output
        for folder in (models / "language", back)
    ]
    assert said[0] == said[1]
    refused = CliRunner().invoke(app, ["export", str(models / "classifier"), str(tmp_path / "no")])
    assert refused.exit_code == 78 and "classifier" in refused.output
    assert not (tmp_path / "no").exists()
