"""Evaluation sets: their files, and the text of each example."""

from __future__ import annotations

import glob
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.config import BenchmarkConfig
from data_tools.errors import DataError

_EXTENSIONS = (".jsonl", ".ndjson", ".parquet")
_PACKED = (".gz", ".bz2", ".zst")


@dataclass(frozen=True)
class Example:
    """One example of an evaluation set."""

    benchmark: str
    name: str
    """Its id, or the file's name and the line or row (from 1)."""
    text: str


def benchmark_files(config: BenchmarkConfig) -> list[Path]:
    """The files that ``config.path`` means, in order.

    Raises:
        DataError: there are none.
    """
    path = Path(config.path)
    if path.is_file():
        return [path]
    # Path.glob takes no absolute patterns.
    matching = glob.glob(config.path, recursive=True)  # noqa: PTH207
    candidates = path.rglob("*") if path.is_dir() else map(Path, matching)
    files = sorted(found for found in candidates if found.is_file() and (not path.is_dir() or _is_readable(found)))
    if not files:
        raise DataError(
            "no such file" if not path.is_dir() else f"no files ending in {', '.join(_EXTENSIONS)} here",
            where=f"decontaminate, benchmark {config.name!r}, path {config.path!r}",
            fix="Name a file, a folder or a glob of JSONL or Parquet; paths are relative to where the command runs.",
        )
    return files


def _is_readable(path: Path) -> bool:
    return _unpacked_suffix(path) in _EXTENSIONS and not path.name.startswith(".")


def _unpacked_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:-1] if suffixes and suffixes[-1] in _PACKED else suffixes[-1:])


def read_examples(config: BenchmarkConfig) -> list[Example]:
    """Every example of one evaluation set.

    The text is the named fields, joined by a blank. ``a.b`` is field ``b`` of the object (or of each object of the
    list) ``a``; lists are joined too. An example may lack some of the fields, but not one example may have none.

    Raises:
        DataError: a file is missing or broken, no example has a field that is named, or there are no examples at all.
    """
    where = f"decontaminate, benchmark {config.name!r}"
    examples: list[Example] = []
    found: set[str] = set()
    known: dict[str, None] = {}
    for file in benchmark_files(config):
        for position, row in _rows(file, where):
            known |= dict.fromkeys(_field_names(row))
            parts: list[str] = []
            for name in config.fields:
                values = list(_values(row, name.split("."), name, f"{where}, {position}"))
                if values:
                    found.add(name)
                parts += values
            named = list(_values(row, config.id_field.split("."), config.id_field, where)) if config.id_field else []
            # JSON can hold halves of surrogate pairs, which are no text.
            name, text = (one.encode(errors="replace").decode() for one in ((named or [position])[0], " ".join(parts)))
            examples.append(Example(config.name, name, text))
    if not examples:
        raise DataError("there is no example in it", where=where, fix="Check the path of the evaluation set.")
    missing = [name for name in config.fields if name not in found]
    if missing:
        raise DataError(
            f"no example has the field {missing[0]!r}; there are {', '.join(known) or 'none'}",
            where=f"{where}, fields",
            fix="Name the fields that make up an example's text.",
        )
    return examples


def _rows(file: Path, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(position, row)`` of each row of a file; the position has the file's name, not its place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if _unpacked_suffix(file) == ".parquet":
            with pq.ParquetFile(file) as parquet:
                number = 0
                for batch in parquet.iter_batches(batch_size=1024):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{file.name}:{number}", row
            return
        with pa.input_stream(str(file), compression="detect") as stream, io.BufferedReader(stream) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"this line isn't JSON ({error})", where=f"{where}, {file.name}:{number}"
                    ) from error
                if not isinstance(row, dict):
                    raise DataError("this line isn't a JSON object", where=f"{where}, {file.name}:{number}")
                yield f"{file.name}:{number}", row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the file can't be read ({error})", where=f"{where}, {file}") from error


def _field_names(row: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield f"{prefix}{name}"
        for one in value[:1] if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _field_names(one, f"{prefix}{name}.")


def _values(value: Any, path: list[str], name: str, where: str) -> Iterator[str]:
    """The strings at ``path``; numbers become strings, nulls are nothing."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path, name, where)
    elif isinstance(value, dict):
        # A name with dots of its own comes before a way through objects.
        whole = ".".join(path)
        if path and whole in value:
            yield from _values(value[whole], [], name, where)
        elif path and path[0] in value:
            yield from _values(value[path[0]], path[1:], name, where)
        elif not path:
            inner = next(iter(value), "...")
            raise DataError(
                f"field {name!r} is an object, not a text", where=where, fix=f"Name a field in it: {name}.{inner}"
            )
    elif not path and value is not None:
        yield value if isinstance(value, str) else str(value)
