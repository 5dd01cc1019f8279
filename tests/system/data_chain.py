"""The data part as a process of its own: every stage, optional ones included, over a small made corpus.

``python -m tests.system.data_chain RAW OUT WORKERS LAST``. A stage that is finished has a mark beside its folder (what
a manifest is in a real run); called again, the process goes on with the first that isn't.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: Stage, door, config class, inputs, whether its unfinished folder is kept.
STAGES: list[tuple[str, str, str, dict[str, str], bool]] = [
    ("ingest", "ingest", "IngestConfig", {}, True),
    ("quality", "train_quality_classifier", "QualityClassifierConfig", {"documents": "ingest"}, False),
    ("annotate", "annotate", "AnnotateConfig", {"documents": "ingest", "quality_classifier": "quality"}, True),
    ("select", "select", "SelectConfig", {"documents": "ingest", "signals": "annotate"}, True),
    ("clean", "clean", "CleanConfig", {"documents": "select"}, True),
    ("deduplicate", "deduplicate", "DeduplicateConfig", {"documents": "clean"}, True),
    ("decontaminate", "decontaminate", "DecontaminateConfig", {"documents": "deduplicate"}, True),
    ("mix", "mix", "MixConfig", {"documents": "decontaminate"}, True),
    ("labels", "build_classification_set", "ClassificationSetConfig", {"documents": "mix"}, False),
    ("talks", "build_instruction_set", "InstructionSetConfig", {"documents": "mix"}, False),
]


_MEASURED = ("gopher_quality", "gopher_repetition", "fineweb", "c4", "refinedweb", "code", "personal_data")


def settings(raw: Path) -> dict[str, dict[str, Any]]:
    fields = {"metadata_fields": ["title", "topic"]}
    return {
        "ingest": {
            "shard_bytes": 100_000,
            "sources": [
                {"kind": "jsonl", "name": "lines", "path": str(raw / "lines"), **fields},
                {"kind": "parquet", "name": "rows", "path": str(raw / "rows"), **fields},
                {"kind": "html", "name": "pages", "path": str(raw / "pages")},
            ],
        },
        "quality": {"positive_sources": ["lines"], "negative_sources": ["rows"], "buckets": 2**12, "epochs": 2},
        "annotate": dict.fromkeys(_MEASURED, True),
        "select": {"language": None, "gopher_quality": {"min_words": 30}, "quality": {"min_score": 0.01}},
        "clean": {"lines": ["refinedweb"], "personal_data": {"emails": True}},
        "deduplicate": {"lines": {"min_chars": 20}, "index": True, "containment_min_shingles": 100},
        "decontaminate": {
            "benchmarks": [{"name": "exam", "path": str(raw / "exam.jsonl")}],
            "rule": "gpt3",
        },
        "mix": {"weights": {"lines": 2.0, "rows": 1.0, "pages": 0.2}, "rehydrate": [[1, 1], [2, 2]]},
        "labels": {"label_field": "topic", "min_examples": 2},
        "talks": {"templates": [{"user": "{title}?", "assistant": "{text}"}], "max_answer_chars": 5000},
    }


def make_corpus(raw: Path, seed: int = 3) -> None:
    """Three sources in several files, with near and exact copies, parts and wholes, menus, addresses, broken records,
    exam questions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = random.Random(seed)
    words = ["the", "of", "and", "to", "that", "with", *(f"{a}{b}" for a in _ONSETS for b in _RESTS)]

    def sentence(length: int) -> str:
        return " ".join(generator.choice(words) for _ in range(length)).capitalize() + "."

    def text() -> str:
        paragraphs = ["\n".join(sentence(generator.randint(8, 20)) for _ in range(4)) for _ in range(3)]
        return "\n\n".join(paragraphs)

    texts = [text() for _ in range(700)]
    questions = [sentence(25) for _ in range(20)]
    for i, question in enumerate(questions[:10]):
        texts[i * 7] += "\n" + question + "\n" + sentence(60)
    texts += [original + "\n" + sentence(6) for original in texts[:90]]
    texts += texts[100:130]
    texts += ["\n\n".join(texts[i : i + 4]) for i in range(200, 240, 4)]
    texts += ["too short"] * 3
    for i in range(0, len(texts), 9):
        texts[i] += "\nHome | Products | Imprint | All rights reserved here"
    for i in range(0, len(texts), 31):
        texts[i] += f"\nWrite to person{i}@example{i}.com about the things that you found with us."
    generator.shuffle(texts)
    rows = [{"text": t, "title": f"title {i}", "topic": f"topic {i % 3}"} for i, t in enumerate(texts)]

    for folder in ("lines", "rows", "pages"):
        (raw / folder).mkdir(parents=True)
    for part in range(4):
        lines = [json.dumps(row) for row in rows[part:500:4]]
        (raw / "lines" / f"{part}.jsonl").write_text("\n".join([*lines, "broken"]), encoding="utf-8")
    table = pa.Table.from_pylist(rows[500:780])
    pq.write_table(table, raw / "rows" / "all.parquet", row_group_size=70)
    for i, row in enumerate(rows[780:]):
        paragraphs = "".join(f"<p>{paragraph}</p>" for paragraph in row["text"].split("\n"))
        page = f"<html><head><title>{row['title']}</title></head><body><main>{paragraphs}</main></body></html>"
        (raw / "pages" / f"{i:03d}.html").write_text(page, encoding="utf-8")
    exam = [json.dumps({"id": i, "question": question}) for i, question in enumerate(questions)]
    (raw / "exam.jsonl").write_text("\n".join(exam), encoding="utf-8")


_ONSETS = ("bar", "cel", "dor", "fen", "gal", "hin", "jor", "kel", "lom", "mar", "nor", "pel", "ros", "sil", "tam")
_RESTS = ("a", "and", "ber", "den", "er", "ick", "ing", "low", "man", "ness", "on", "ser", "ton", "ville", "wick")


def run_chain(raw: Path, out: Path, workers: int, last: str) -> None:
    from data_tools import config as configs
    from data_tools.progress import no_progress

    runtime = configs.DataRuntime(workers=workers, cache=str(out.parent / "cache"))
    told = settings(raw)
    for name, door, config, inputs, resumable in STAGES:
        mark = out / f"{name}.json"
        if mark.exists():
            continue
        if not resumable:
            shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True, exist_ok=True)
        module = importlib.import_module(f"data_tools.stages.{door}")
        print(name, flush=True)
        counters = module.run(
            getattr(configs, config).model_validate(told[name]),
            {key: out / value for key, value in inputs.items()},
            out / name,
            no_progress,
            runtime,
        )
        mark.with_suffix(".tmp").write_text(json.dumps(counters, sort_keys=True))
        mark.with_suffix(".tmp").replace(mark)
        if name == last:
            return


def start_chain(raw: Path, out: Path, workers: int, hash_seed: str = "random", last: str = "") -> subprocess.Popen[str]:
    """The chain as a process, in a session of its own, to its end or to stage ``last``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.system.data_chain", str(raw), str(out), str(workers), last],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def digests(out: Path) -> dict[str, str]:
    """Every file under ``out``, counters included, by its sha256."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def differences(one: dict[str, str], other: dict[str, str]) -> Iterator[str]:
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield f"{name}: {'missing' if name not in other else 'extra' if name not in one else 'differs'}"


if __name__ == "__main__":
    run_chain(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
