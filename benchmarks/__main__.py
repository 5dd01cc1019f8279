"""Print the published numbers: ``python -m benchmarks [PART ...]``; without a part, all of them.

Every part is a module with ``run(out: Path) -> dict``. It prints ours and the peer's (or the bar) side by side and
its result is kept as JSON in ``benchmarks/results/``, with the machine and the versions that it was measured on.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe

PARTS = {
    "quickstart": "the whole chain from raw text to scorecard, and the same command again",
}
RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    unknown = [part for part in arguments if part not in PARTS]
    if unknown:
        print(f"no such part: {', '.join(unknown)}. There are:", file=sys.stderr)
        for name, what in PARTS.items():
            print(f"  {name:12} {what}", file=sys.stderr)
        return 2
    for part in arguments or PARTS:
        print(f"== {part}: {PARTS[part]}", flush=True)
        with tempfile.TemporaryDirectory(prefix="groundup-bench-") as scratch:
            result = importlib.import_module(f"benchmarks.{part}").run(Path(scratch))
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{part}.json"
        path.write_text(json.dumps({"part": part, "machine": describe(), **result}, indent=2) + "\n")
        print(f"kept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
