"""Killed at any moment, ingest goes on where it was: what was finished isn't read again, and the bytes are the same."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = """
import os, signal, sys
from pathlib import Path
from data_tools import config as c
from data_tools.progress import no_progress
from data_tools.stages import ingest
import data_tools.sources.jsonl as jsonl, data_tools.sources.parquet as parquet

raw, out, moment, log = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), open(sys.argv[4], "a")
seen = 0

def killing(function, note):
    def wrapped(*arguments, **options):
        global seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        print(note(*arguments), file=log, flush=True)
        return function(*arguments, **options)
    return wrapped

for source, read in ((jsonl.JsonlSource, "read"), (parquet.ParquetSource, "read_columns")):
    setattr(source, read, killing(getattr(source, read), lambda self, file: f"{file.name} {file.start}"))
ingest._number_parts = killing(ingest._number_parts, lambda *arguments: "numbering")
Path.replace = killing(Path.replace, lambda *arguments: "replacing")
sources = [
    {"kind": "jsonl", "name": "lines", "path": raw + "/lines"},
    {"kind": "parquet", "name": "table", "path": raw + "/table.parquet"},
]
out.mkdir(exist_ok=True)
ingest.run(c.IngestConfig(sources=sources, shard_bytes=100_000), {}, out, no_progress, c.DataRuntime(workers=1))
"""


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_killed_at_many_moments(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = tmp_path / "raw"
    (raw / "lines").mkdir(parents=True)
    for name, rows in [("a", 6_000), ("b", 200), ("c", 200)]:
        lines = [json.dumps({"text": f"{name} row {i} " + "x" * (i % 90)}) for i in range(rows)]
        (raw / "lines" / f"{name}.jsonl").write_text("\n".join([*lines, "broken"]))
    table = pa.table({"text": [f"row {i} " + "y" * 500 for i in range(1_000)]})
    pq.write_table(table, raw / "table.parquet", row_group_size=100, compression="none", use_dictionary=False)

    def run(out: str, moment: int, log: str) -> int:
        arguments = [str(raw), str(tmp_path / out), str(moment), str(tmp_path / log)]
        root = Path(__file__).parents[3]
        return subprocess.run([sys.executable, "-c", CHILD, *arguments], cwd=root).returncode

    assert run("whole", 0, "whole.log") == 0
    whole = tree(tmp_path / "whole")
    calls = (tmp_path / "whole.log").read_text().splitlines()
    reads = sorted(call for call in calls if call.startswith(("a", "b", "c", "t")))
    assert len(reads) == len(set(reads)) > 8 and len([name for name in whole if "documents" in name]) > 5
    kills = 0
    # Each try is killed a little later than it could get before: in reading, between groups, while parts are numbered.
    for moment in (1, 5, 6, 11, 3, 14, 2):
        code = run("killed", moment, "killed.log")
        assert code == -signal.SIGKILL, "it should have had more to do"
        kills += 1
    assert run("killed", 0, "killed.log") == 0
    assert tree(tmp_path / "killed") == whole
    again = [call for call in (tmp_path / "killed.log").read_text().splitlines() if call[0] in "abct"]
    assert len(again) <= len(reads) + 3 * kills, "finished groups are not read again"


def test_other_files_begin_anew(chain: Any) -> None:
    path = chain.folder / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    config = {"sources": [{"kind": "jsonl", "name": "s", "path": str(path)}]}
    out = chain.folder / "ingest"
    # What an interrupted run of another plan left.
    for leftover in ("finished.tmp/ingest/000000.json", "unfinished.tmp/000000/documents/part-00000.parquet"):
        (out / leftover).parent.mkdir(parents=True)
        (out / leftover).write_text('{"counters": {}, "documents": 7, "quarantine": 0}')
    (out / "finished.tmp" / "plan.json").write_text('{"groups": "another"}')
    (out / "documents").mkdir()
    (out / "documents" / "part-00099.parquet").write_text("old")
    assert chain.run("ingest", config)["documents_out"] == 1
    assert [row["text"] for row in chain.rows("ingest", "documents")] == ["one"]
    assert sorted(os.listdir(out)) == ["counters.json", "documents", "quarantine"]  # noqa: PTH208
