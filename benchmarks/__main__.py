"""Print the published numbers: ``python -m benchmarks [PART ...] [--corpus PATH]``; without a part, all of them.

Every part is a module with ``run(out: Path) -> dict``. It prints ours and the peer's (or the bar) side by side and
its result is kept as JSON in ``benchmarks/results/``, with the machine and the versions that it was measured on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.corpus import VARIABLE
from benchmarks.machine import describe
from benchmarks.peers import made, peers_versions

PARTS = {
    "quickstart": "the whole chain from raw text to scorecard, and the same command again",
    "minhash": "Parquet text to MinHash signatures, against datasketch, rensa, gaoya and datatrove",
    "deduplication": "whole, every removal verified, against datasketch MinHashLSH and gaoya",
    "clusters": "bands of a million documents to clusters, against datasketch MinHashLSH, DuckDB and Polars",
    "verification": "exact similarity of candidate pairs",
    "recall": "planted near-duplicates of known similarity, against theory; precision after verification",
    "filters": "Gopher, FineWeb and C4 rules, against datatrove: speed, and the same decisions",
    "extraction": "HTML to text, against trafilatura",
    "data_path": "raw Parquet to clean Parquet, against datatrove's same steps",
    "languages": "language identification on labelled texts, language by language",
    "tokenizing": "Parquet text to token shards, against tiktoken and tokenizers: speed, and the same ids",
    "loader": "rows for training out of shards, against a PyTorch DataLoader over the same files",
    "tokenizer_training": "text to 32,000 entries, against tokenizers, SentencePiece and gigabpe; memory of a gigabyte",
    "training_speed": "tokens per second of the quickstart's model on a CPU, against transformers' Trainer",
    "sample_efficiency": "tokens to a nanoGPT recipe's final loss, three seeds",
    "gpu_training": "124M, 350M and 1B on one GPU, against a plain nanoGPT-style loop",
}
RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--corpus", help=f"a Parquet file or folder with a text column (or {VARIABLE})")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        print(f"no such part: {', '.join(unknown)}. There are:", file=sys.stderr)
        for name, what in PARTS.items():
            print(f"  {name:14} {what}", file=sys.stderr)
        return 2
    if options.corpus:
        os.environ[VARIABLE] = str(Path(options.corpus).resolve())
    for part in options.parts or PARTS:
        print(f"== {part}: {PARTS[part]}", flush=True)
        with tempfile.TemporaryDirectory(prefix="groundup-bench-") as scratch:
            result = importlib.import_module(f"benchmarks.{part}").run(Path(scratch))
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{part}.json"
        kept = {"part": part, "machine": describe(), "peers": peers_versions() if made() else {}, **result}
        path.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"kept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
