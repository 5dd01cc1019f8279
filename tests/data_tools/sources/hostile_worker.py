"""A process that ingests hostile inputs, one for each line that it is sent, and tells what became of them.

Run as ``python -m tests.data_tools.sources.hostile_worker``. If it crashes or hangs, the test that waits knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_tools.config import DataRuntime, IngestConfig
from data_tools.progress import no_progress
from data_tools.stages import ingest
from tests.data_tools.sources.hostile import MAX_DOCUMENT_BYTES


def ingest_once(request: dict[str, Any], out: Path) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    _forget_peak()
    config = IngestConfig.model_validate(
        {"sources": request["sources"], "max_document_bytes": MAX_DOCUMENT_BYTES, "shard_bytes": 1_000_000}
    )
    counters = ingest.run(config, {}, out, no_progress, DataRuntime(workers=1))
    peak = _peak_megabytes()
    rows = {}
    for table, columns in [("documents", ["source", "text"]), ("quarantine", ["source", "reason"])]:
        rows[table] = [
            row for part in sorted((out / table).iterdir()) for row in pq.read_table(part, columns=columns).to_pylist()
        ]
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        digest.update(path.relative_to(out).as_posix().encode() + path.read_bytes())
    return {
        "counters": counters,
        "texts": [row["text"] for row in rows["documents"] if row["source"] == "hostile" and len(row["text"]) < 10_000],
        "reasons": [row["reason"] for row in rows["quarantine"]],
        "documents": len(rows["documents"]),
        "beside": [row["text"] for row in rows["documents"] if row["source"] == "beside"],
        "peak": peak,
        "digest": digest.hexdigest(),
    }


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a parser prints must not look like an answer
    for line in sys.stdin:
        request = json.loads(line)
        out = Path(request["out"])
        print(json.dumps([ingest_once(request, out) for _ in range(request["times"])]), file=answers, flush=True)


if __name__ == "__main__":
    main()
