"""Documents that share n-grams with evaluation sets are removed, or the shared part is.

The first pass over the corpus finds the shared n-grams (``data_tools.decontamination.ngrams``) and keeps their places,
the second judges and writes; between them it is known how many documents each n-gram stands in. Memory is bounded by a
row group and the evaluation sets themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.atomic_file import delete_folder
from data_tools.config import DataRuntime, DecontaminateConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

    from data_tools.decontamination.benchmarks import Example
    from data_tools.decontamination.ngrams import Ints, SoughtNgrams

Counters = dict[str, int | float | str]


def source_digests(config: DecontaminateConfig, runtime: DataRuntime) -> dict[str, str]:
    """``benchmark/file name`` to sha256 of every file of the evaluation sets.

    Raises:
        DataError: one isn't there.
    """
    from data_tools.decontamination.benchmarks import benchmark_files
    from data_tools.dedup.index_format import sha256_of

    digests: dict[str, str] = {}
    for benchmark in config.benchmarks:
        files = benchmark_files(benchmark)
        folder = Path(benchmark.path)
        for number, file in enumerate(files):
            name = file.relative_to(folder).as_posix() if folder.is_dir() else f"{number}/{file.name}"
            digests[f"{benchmark.name}/{name}"] = sha256_of(file)
    return digests


def run(
    config: DecontaminateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``documents/``, ``contamination/`` (which document met which example) and ``edits/`` (what was cut).

    Raises:
        DataError: an evaluation set is missing, or its fields are, or no example is long enough to be looked for; or no
            document is left.
    """

    import numpy as np

    from data_tools.decontamination.benchmarks import read_examples
    from data_tools.decontamination.ngrams import ngrams_of
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    names = [benchmark.name for benchmark in config.benchmarks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two benchmarks are called {twice[0]!r}", where="decontaminate", fix="Give each its own name.")
    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    temporary = out / "finished.tmp"
    for folder in ("documents", "contamination", "edits", "finished.tmp/found"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    examples = [example for benchmark in config.benchmarks for example in read_examples(benchmark)]
    sought = ngrams_of([example.text for example in examples], config)
    total = _count_examples(examples, sought, config)
    ngrams = sought.save(temporary)
    map_shards(
        partial(_search_shard, ngrams),
        list(paths),
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="searching",
        ledger=temporary / "searched",
    )
    too_common = np.zeros(0, dtype=np.int64)
    if config.rule == "gpt3":
        in_documents = np.zeros(len(sought.keys), dtype=np.int64)
        for path in paths:
            found = _read_found(temporary, path)
            once = np.unique(found[:, :2], axis=0)
            in_documents += np.bincount(once[:, 1], minlength=len(in_documents))
        too_common = np.flatnonzero(in_documents > config.max_document_matches)
    total["ngrams_too_common"] = len(too_common)
    of_examples = [(example.benchmark, example.name) for example in examples]
    met: set[int] = set()
    for counts, examples_met in map_shards(
        partial(_judge_shard, config, ngrams, of_examples, too_common.tolist(), out),
        list(paths),
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="removing",
        ledger=temporary / "judged",
    ):
        total.update(counts)
        met |= set(examples_met)
    for example in sorted(met):
        total[f"benchmark.{of_examples[example][0]}.examples_met"] += 1
    delete_folder(temporary)
    if not total["documents_out"]:
        raise DataError(
            f"not one of {total['documents_in']:,} documents is left",
            where="decontaminate",
            fix="Look at contamination/ for what they met, or raise decontaminate.ngram_words.",
        )
    return {name: total[name] for name in sorted(total)}


def _count_examples(examples: Sequence[Example], sought: SoughtNgrams, config: DecontaminateConfig) -> Counter[str]:
    counts: Counter[str] = Counter({"removed": 0, "edited": 0, "examples": len(examples)})
    for example, ngrams in zip(examples, sought.per_example.tolist(), strict=True):
        prefix = f"benchmark.{example.benchmark}"
        counts[f"{prefix}.examples"] += 1
        counts[f"{prefix}.examples_too_short"] += ngrams == 0
        counts[f"{prefix}.examples_met"] += 0
        counts[f"{prefix}.documents"] += 0
    for benchmark in config.benchmarks:
        prefix = f"benchmark.{benchmark.name}"
        if counts[f"{prefix}.examples"] == counts[f"{prefix}.examples_too_short"]:
            raise DataError(
                f"not one of its {counts[f'{prefix}.examples']:,} examples has enough words to be looked for",
                where=f"decontaminate, benchmark {benchmark.name!r}",
                fix="Name more fields, lower decontaminate.ngram_words, or set short_examples: whole.",
            )
    return counts


def _found_path(temporary: Path, path: Path) -> Path:
    return temporary / "found" / path.name


def _search_shard(ngrams: Path, path: Path) -> int:
    """Keep (row, n-gram, first byte, byte behind it) of every n-gram found in one file."""
    import numpy as np
    import pyarrow as pa

    from data_tools.decontamination.ngrams import Finder, load_ngrams
    from data_tools.parquet import ShardFile, read_row_groups

    finder = Finder(load_ngrams(ngrams))
    schema = pa.schema([(name, pa.int64()) for name in ("row", "ngram", "start", "end")])
    row = count = 0
    with ShardFile(_found_path(ngrams.parent, path), schema) as file:
        for table in read_row_groups(path, ["text"]):
            found = finder.find(table["text"])
            found[:, 0] += row
            file.write(pa.table(list(np.ascontiguousarray(found.T)), names=schema.names))
            row += table.num_rows
            count += len(found)
    return count


def _read_found(temporary: Path, path: Path) -> Ints:
    """(found, 4) int64, by row, then place."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(_found_path(temporary, path))
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _judge_shard(
    config: DecontaminateConfig,
    ngrams: Path,
    names: Sequence[tuple[str, str]],
    too_common: Sequence[int],
    out: Path,
    path: Path,
) -> tuple[Counter[str], list[int]]:
    import numpy as np
    import pyarrow as pa

    from data_tools.decontamination.ngrams import load_ngrams
    from data_tools.edited_documents import count_documents
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import CONTAMINATION, DOCUMENTS, EDITS

    sought, found = load_ngrams(ngrams), _read_found(ngrams.parent, path)
    counts: Counter[str] = Counter()
    met: set[int] = set()
    row = 0
    with (
        ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(out / "contamination" / path.name, CONTAMINATION) as contamination,
        ShardFile(out / "edits" / path.name, EDITS) as edits,
    ):
        for table in read_row_groups(path):
            here = slice(*np.searchsorted(found[:, 0], [row, row + table.num_rows]))
            group = _JudgedGroup(config, names, sought, np.array(too_common, dtype=np.int64), table, row)
            group.judge(found[here])
            kept = group.documents()
            documents.write(kept)
            contamination.write(pa.Table.from_pylist(group.contamination, schema=CONTAMINATION))
            edits.write(pa.Table.from_pylist(group.edits, schema=EDITS))
            counts.update(group.counts + count_documents(table, kept))
            met |= group.met
            row += table.num_rows
    return counts, sorted(met)


class _JudgedGroup:
    """One row group: what its documents met, and what became of them.

    Args:
        names: benchmark and id of each example.
    """

    def __init__(
        self,
        config: DecontaminateConfig,
        names: Sequence[tuple[str, str]],
        sought: SoughtNgrams,
        too_common: Ints,
        table: pa.Table,
        first_row: int,
    ) -> None:
        self._config, self._names, self._sought, self._too_common = config, names, sought, too_common
        self._table, self._first_row = table, first_row
        self.contamination: list[dict[str, Any]] = []
        self.edits: list[dict[str, Any]] = []
        self.met: set[int] = set()
        self._new_texts: dict[int, str] = {}  # row to what is left of it, "" where it goes
        self.counts: Counter[str] = Counter()

    def judge(self, found: Ints) -> None:
        import numpy as np

        rows, starts = np.unique(found[:, 0], return_index=True)
        for row, part in zip(rows.tolist(), np.split(found, starts[1:]), strict=False):
            self._judge_document(row - self._first_row, part[:, 1:])

    def _judge_document(self, row: int, found: Ints) -> None:
        from data_tools.decontamination.rules import cut_out, meetings
        from data_tools.text import document_id

        document = self._table.slice(row, 1).to_pylist()[0]
        text = document["text"]
        met = meetings(found, self._sought, self._too_common, self._config)
        benchmarks = sorted({self._names[meeting.example][0] for meeting in met if meeting.counts})
        action = "kept"
        if benchmarks:
            left, cuts = cut_out(text, found, self._too_common) if self._config.rule == "gpt3" else ("", 0)
            action = "cut" if left else "removed"
            self._new_texts[row] = left
            if left:
                self.edits.append(
                    {
                        "doc_id": document["doc_id"],
                        "new_doc_id": document_id(left),
                        "source": document["source"],
                        "source_id": document["source_id"],
                        "changes": [("contamination/cut", cuts)],
                        "bytes_before": document["n_bytes"],
                        "bytes_after": len(left.encode()),
                    }
                )
                self.counts["edited"] += 1
                self.counts["cuts"] += cuts
            else:
                self.counts["removed"] += 1
        for benchmark in benchmarks:
            self.counts[f"benchmark.{benchmark}.documents"] += 1
            if action == "removed":
                self.counts[f"removed.contamination/{benchmark}"] += 1
                self.counts[f"source.{document['source']}.removed.contamination/{benchmark}"] += 1
        encoded = text.encode()
        for meeting in met:
            benchmark, example = self._names[meeting.example]
            self.met.add(meeting.example)
            self.contamination.append(
                {
                    "doc_id": document["doc_id"],
                    "source": document["source"],
                    "source_id": document["source_id"],
                    "benchmark": benchmark,
                    "example": example,
                    "ngrams": meeting.ngrams,
                    "coverage": meeting.coverage,
                    "matched_text": encoded[slice(*meeting.first)].decode(),
                    "action": action if meeting.counts else "kept",
                }
            )

    def documents(self) -> pa.Table:
        """The documents that stay, as they are now."""
        from data_tools.edited_documents import replace_texts

        return replace_texts(self._table, self._new_texts)
