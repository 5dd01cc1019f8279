"""The same bytes come out for any number of workers and any hash seed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

CHAIN = """
import json, sys
from pathlib import Path
from data_tools import config as c
from data_tools.progress import no_progress
from data_tools.stages import annotate, build_classification_set, build_instruction_set
from data_tools.stages import deduplicate, ingest, mix, select

def main():
    raw, out, workers, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    source = {"kind": "jsonl", "name": "s", "path": raw, "metadata_fields": ["title", "topic"]}
    steps = [
        ("ingest", ingest, c.IngestConfig(sources=[source], shard_bytes=100_000), {}),
        ("annotate", annotate, c.AnnotateConfig(), {"documents": "ingest"}),
        ("select", select, c.SelectConfig(language=None, gopher_quality={"min_stop_words": 1}),
         {"documents": "ingest", "signals": "annotate"}),
        ("deduplicate", deduplicate, c.DeduplicateConfig(), {"documents": "select"}),
        ("mix", mix, c.MixConfig(), {"documents": "deduplicate"}),
        ("labels", build_classification_set, c.ClassificationSetConfig(label_field="topic"), {"documents": "mix"}),
        ("talks", build_instruction_set,
         c.InstructionSetConfig(templates=[{"user": "{title}?", "assistant": "{text}"}], max_answer_chars=2000),
         {"documents": "mix"}),
    ]
    runtime = c.DataRuntime(workers=workers)
    counters = {}
    for name, door, config, inputs in steps:
        (out / name).mkdir(parents=True)
        inputs = {key: out / value for key, value in inputs.items()}
        counters[name] = door.run(config, inputs, out / name, no_progress, runtime)
        if name == last:
            break
    (out / "all.json").write_text(json.dumps(counters))

if __name__ == "__main__":
    main()
"""


def digest_tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_workers_and_hash_seeds_change_no_byte(tmp_path: Path) -> None:
    generator = random.Random(3)
    raw = tmp_path / "raw"
    raw.mkdir()
    words = ["the", "of", "and", *(f"word{i}" for i in range(300))]
    texts = [" ".join(generator.choice(words) for _ in range(120)) for _ in range(400)]
    texts += [text + " and a little more" for text in texts[:60]] + texts[100:120]
    generator.shuffle(texts)
    for part in range(5):
        rows = [
            json.dumps({"text": text, "title": f"title {part}-{i}", "topic": f"topic {i % 3}"})
            for i, text in enumerate(texts[part::5])
        ]
        (raw / f"{part}.jsonl").write_text("\n".join([*rows, "broken"]))
    script = tmp_path / "chain.py"
    script.write_text(CHAIN)
    trees = []
    # Starting processes is what takes the time here: four workers only go as far as the stages that work hardest.
    for workers, seed, last in [(1, "0", "talks"), (2, "1", "talks"), (4, "random", "deduplicate")]:
        out = tmp_path / f"out{workers}"
        command = [sys.executable, str(script), str(raw), str(out), str(workers), last]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        counters = json.loads((out / "all.json").read_text())
        (out / "all.json").unlink()
        trees.append((digest_tree(out), counters))
    (tree, counters), (tree_of_two, counters_of_two), (tree_of_four, counters_of_four) = trees
    assert len([name for name in tree if name.startswith("ingest/documents")]) > 3, "else it proves nothing"
    removed = counters["deduplicate"]
    assert removed["removed.near-duplicate"] > 30 and removed["removed.exact-duplicate"] > 0
    assert (tree_of_two, counters_of_two) == (tree, counters)
    assert tree_of_four == {name: tree[name] for name in tree_of_four}
    assert counters_of_four == {name: counters[name] for name in counters_of_four}
