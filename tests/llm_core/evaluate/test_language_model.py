import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from llm_core.config import ModelConfig, ShardsConfig
from llm_core.errors import LlmCoreError
from llm_core.evaluate import language_model
from llm_core.evaluate.language_model import evaluate_language_model
from llm_core.evaluate.scorecard import scorecard_markdown
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.stages import write_shards
from llm_core.tokenizer.encode import Tokenizer


def evaluate(toy: Any, folder: Path, rows: dict[str, list[Any]], *, write: bool = True) -> dict[str, Any]:
    documents, shards = folder / "documents", folder / "shards"
    for each in (documents, shards):
        each.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), documents / "part-00000.parquet")
    if write:
        inputs = {"documents": documents, "tokenizer": toy.tokenizer}
        write_shards.run(ShardsConfig(), inputs, shards, no_progress, toy.runtime)
    tokenizer = Tokenizer.load(toy.tokenizer)
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16), tokenizer.vocab_size)
    initialize(model, 3)
    with torch.no_grad():
        return evaluate_language_model(model, tokenizer, shards, documents, torch.device("cpu"), lambda: None)


TEXTS = [f"the old horse number {n} is known for its age" for n in range(40)]
SPLITS = ["validation" if n % 4 == 0 else "train" for n in range(40)]


def test_repetitions_of_a_mixture_teach_the_baselines_nothing(toy: Any, tmp_path: Path) -> None:
    once = {"text": TEXTS, "split": SPLITS, "source": [f"s{n % 3}" for n in range(40)]}
    # The mixture repeats one document of the train split, with rare letters, many times.
    first = evaluate(toy, tmp_path / "once", {**once, "repetition": [0] * 40})
    again = {name: [*values, *[values[1]] * 50] for name, values in once.items()}
    repeated = evaluate(toy, tmp_path / "repeated", {**again, "repetition": [0] * 40 + list(range(1, 51))})
    assert repeated == first
    unmarked = evaluate(toy, tmp_path / "unmarked", again)
    assert unmarked["baselines"]["token_unigram"] != first["baselines"]["token_unigram"]


def test_the_loss_is_told_source_by_source(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"text": TEXTS, "split": SPLITS, "source": ["a" if n % 8 else "b" for n in range(40)]}
    measured = evaluate(toy, tmp_path, rows)
    alone = evaluate(toy, tmp_path / "alone", {**rows, "source": ["a"] * 40})
    assert alone["sources"] == {} and alone["loss"] == pytest.approx(measured["loss"], rel=1e-6)
    assert set(measured["sources"]) == {"a", "b"}
    total = sum(each["bytes"] * each["bits_per_byte"] for each in measured["sources"].values())
    assert total / measured["bytes"] == pytest.approx(measured["bits_per_byte"], rel=1e-6)
    page = scorecard_markdown({"language_model": measured})
    assert "| a | " in page and "Source by source" in page
    monkeypatch.setattr(language_model, "MOST_SOURCES", 1)
    folded = evaluate(toy, tmp_path, rows, write=False)
    assert list(folded["sources"]) == ["a", "(others)"]  # the largest, a little


def test_the_compressor_sees_the_end_of_a_long_train_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "COMPRESSED_BYTES", 50)
    corpus = language_model._Corpus()
    for start in range(0, 40, 5):
        corpus.add_train(TEXTS[start : start + 5])
    whole = "".join(f"{text}\n" for text in TEXTS).encode()
    assert corpus.train_end() == whole[-51:]
    assert corpus.train_bytes.sum() == len(whole) and len(corpus.train_ends) == 1


def test_shards_of_other_documents_are_refused(toy: Any, tmp_path: Path) -> None:
    rows = {"text": TEXTS, "split": SPLITS}
    evaluate(toy, tmp_path, rows)
    shutil.rmtree(tmp_path / "documents")
    with pytest.raises(LlmCoreError, match="30 documents in the split 'train', the documents 29"):
        evaluate(toy, tmp_path, {"text": TEXTS[:39], "split": SPLITS[:39]}, write=False)
