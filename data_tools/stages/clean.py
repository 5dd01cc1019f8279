"""Edits of the documents that stay: lines that published line rules remove, personal data that placeholders replace.

An edited document gets a new id, as ids follow the text; ``edits/`` leads from the old one to the new one and says what
was done. Source code (metadata ``programming_language``) keeps its lines: the line rules are for prose. Memory is
bounded by a row group.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.atomic_file import delete_folder
from data_tools.config import CleanConfig, DataRuntime
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

Counters = dict[str, int | float | str]

#: What a document goes for of which the rules leave nothing.
EMPTY = "clean/empty"
#: Blank lines, and blanks around lines: line rules put lines together anew.
WHITE_SPACE = "clean/white-space"


def run(config: CleanConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``documents/`` (edited, or as they were) and ``edits/`` (a row for each that changed or went).

    Raises:
        DataError: the rules leave nothing of any document.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    for table in ("documents", "edits"):
        (out / table).mkdir(parents=True, exist_ok=True)
    unfinished = out / "finished.tmp"
    results = map_shards(
        partial(_clean_shard, config, out),
        paths,
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="editing",
        ledger=unfinished / "editing",
    )
    total: Counter[str] = Counter({"edited": 0, f"removed.{EMPTY}": 0})
    for result in results:
        total.update(result)
    total["removed"] = total[f"removed.{EMPTY}"]
    delete_folder(unfinished)
    if total["documents_out"] == 0:
        raise DataError(
            f"the line rules leave nothing of any of {total['documents_in']:,} documents",
            where="clean.lines",
            fix="Name fewer rules, or set clean.c4_terminal_punctuation to false.",
        )
    return {name: total[name] for name in sorted(total)}


def _clean_shard(config: CleanConfig, out: Path, path: Path) -> dict[str, int]:
    from data_tools.edited_documents import count_documents
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import DOCUMENTS, EDITS

    counts: Counter[str] = Counter()
    with (
        ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(out / "edits" / path.name, EDITS) as edits,
    ):
        for table in read_row_groups(path):
            cleaned, edited = _edit(config, table)
            documents.write(cleaned)
            edits.write(edited)
            counts.update(count_documents(table, cleaned))
            for row in edited.select(["new_doc_id", "source", "changes"]).to_pylist():
                for change, times in row["changes"]:
                    counts[f"changes.{change}"] += times
                if row["new_doc_id"] is None:
                    counts[f"removed.{EMPTY}"] += 1
                    counts[f"source.{row['source']}.removed.{EMPTY}"] += 1
                else:
                    counts["edited"] += 1
    return dict(counts)


def _edit(config: CleanConfig, table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(documents, edits) of one row group."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.schema import EDITS
    from data_tools.text import document_id, normalize_utf8

    before = table["text"].combine_chunks()
    after, changes = _changed_texts(config, before, _code_rows(table))
    touched = pc.not_equal(before, after)
    # Lines that went may leave blank ones at the ends, and words that went blanks: an id is that of a normal text.
    normal = [normalize_utf8(text, text.encode(), "nfc-clean") for text in after.filter(touched).to_pylist()]
    after = pc.replace_with_mask(before, touched, pa.array(normal, before.type))
    changed = pc.not_equal(before, after)
    rows = pc.indices_nonzero(changed)
    texts = after.take(rows).cast(pa.large_binary()).to_pylist()
    ids = [document_id(text) if text.strip() else None for text in texts]
    sizes = [len(text) if new is not None else 0 for text, new in zip(texts, ids, strict=True)]
    done = [
        [(name, int(times[row])) for name, times in sorted(changes.items()) if times[row]] or [(WHITE_SPACE, 1)]
        for row in rows.to_pylist()
    ]
    old = table.take(rows)
    edits = pa.table(
        {
            "doc_id": old["doc_id"],
            "new_doc_id": pa.array(ids, pa.string()),
            "source": old["source"],
            "source_id": old["source_id"],
            "changes": pa.array(done, EDITS.field("changes").type),
            "bytes_before": old["n_bytes"],
            "bytes_after": pa.array(sizes, pa.int64()),
        }
    )
    for name, values in (("doc_id", [new or "" for new in ids]), ("n_bytes", sizes)):
        field = table.schema.field(name)
        column = pc.replace_with_mask(table[name].combine_chunks(), changed, pa.array(values, field.type))
        table = table.set_column(table.schema.get_field_index(name), field, column)
    table = table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), after)
    return table.filter(pc.not_equal(table["doc_id"], "")), edits


def _code_rows(table: pa.Table) -> npt.NDArray[np.bool_]:
    import numpy as np

    from data_tools.filters.verdicts import is_code

    return np.asarray(is_code(table))


def _changed_texts(
    config: CleanConfig, texts: pa.Array, code: npt.NDArray[np.bool_]
) -> tuple[pa.Array, dict[str, npt.NDArray[np.int64]]]:
    """The texts after all edits, and change to (texts,) how often it was made."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    changes: dict[str, npt.NDArray[np.int64]] = {}

    def count(found: dict[str, npt.NDArray[np.int64]], rows: npt.NDArray[np.int64]) -> None:
        for name, times in found.items():
            changes.setdefault(name, np.zeros(len(texts), dtype=np.int64))[rows] += times

    prose = np.flatnonzero(~code)
    for rules in config.lines:
        if rules == "refinedweb":
            from data_tools.filters import refinedweb

            edited = refinedweb.edit_lines(texts.take(pa.array(prose)))
        else:
            from data_tools.filters import c4

            variant = rules.removeprefix("c4-")
            edited = c4.edit_lines(texts.take(pa.array(prose)), variant, config.c4_terminal_punctuation)
        texts = pc.replace_with_mask(texts, pa.array(~code), edited.texts)
        count(edited.counts, prose)
    if config.personal_data is not None:
        from data_tools.filters.personal_data import find_personal_data, replace_found

        by_text: dict[int, list[Any]] = {}
        for found in find_personal_data(texts):
            by_text.setdefault(found.text, []).append(found)
        replaced = []
        for row in by_text:
            text, times = replace_found(texts[row].as_py(), by_text[row], config.personal_data)
            replaced.append(text)
            for kind, number in times.items():
                count({f"personal-data/{kind.replace('_', '-')}": np.array([number])}, np.array([row]))
        mask = np.zeros(len(texts), dtype=bool)
        mask[list(by_text)] = True
        texts = pc.replace_with_mask(texts, pa.array(mask), pa.array(replaced, texts.type))
    return texts, changes
