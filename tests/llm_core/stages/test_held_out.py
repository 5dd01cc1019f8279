"""Nothing of a held-out document gets into what models learn from: whatever it says, training sees the same bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.config import LlmRuntime, ShardsConfig, TokenizerConfig
from llm_core.evaluate.classification import naive_bayes_predictions
from llm_core.progress import no_progress
from llm_core.stages import train_tokenizer, write_shards

SPLITS = ["train"] * 8 + ["validation", "test"]


def what_training_sees(folder: Path, held_out: str) -> dict[str, bytes]:
    """Tokenizer and train shards of a corpus whose validation and test documents are ``held_out``."""
    texts = [f"the river number {i} runs to the sea" if SPLITS[i % 10] == "train" else held_out for i in range(60)]
    splits = [SPLITS[i % 10] for i in range(60)]
    documents, tokenizer, shards = (folder / name for name in ("documents", "tokenizer", "shards"))
    for each in (documents, tokenizer, shards):
        each.mkdir(parents=True)
    pq.write_table(pa.table({"text": texts, "split": splits}), documents / "part-00000.parquet")
    inputs = {"documents": documents}
    train_tokenizer.run(TokenizerConfig(vocab_size=320), inputs, tokenizer, no_progress, LlmRuntime())
    write_shards.run(ShardsConfig(), inputs | {"tokenizer": tokenizer}, shards, no_progress, LlmRuntime())
    assert list(shards.glob("validation-*.bin")) and list(shards.glob("test-*.bin"))
    learned_from = [tokenizer / "tokenizer.json", *sorted(shards.glob("train-*"))]
    return {path.name: path.read_bytes() for path in learned_from}


def test_tokenizer_and_train_shards_know_nothing_of_held_out_documents(tmp_path: Path) -> None:
    one = what_training_sees(tmp_path / "one", "quixotic zebras, quixotic zebras, quixotic zebras")
    other = what_training_sees(tmp_path / "other", "an entirely different and much longer sentence " * 20)
    assert len(one) == 4 and one == other


def test_the_bag_of_words_baseline_judges_each_text_by_the_train_split_alone() -> None:
    train = ["red apple", "green apple", "fast car", "slow car"] * 3
    asked = ["apple", "car", "red car", "fast apple"]
    alone = [naive_bayes_predictions(train, [0, 0, 1, 1] * 3, [text]) for text in asked]
    together = naive_bayes_predictions(train, [0, 0, 1, 1] * 3, asked)
    assert together == {name: [one[name][0] for one in alone] for name in together} and len(together) == 2
