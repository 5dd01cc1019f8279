"""Arrow schemas of every table that the data part writes. A schema is declared, never inferred from the first rows."""

from __future__ import annotations

import pyarrow as pa

#: Raised when a column changes its name, type or meaning. Written into every Parquet file.
SCHEMA_VERSION = 1

_METADATA = pa.map_(pa.string(), pa.string())


def _table(name: str, fields: list[tuple[str, pa.DataType]], optional: frozenset[str] = frozenset()) -> pa.Schema:
    return pa.schema(
        [pa.field(column, kind, nullable=column in optional) for column, kind in fields],
        metadata={"groundup.table": name, "groundup.schema_version": str(SCHEMA_VERSION)},
    )


_DOCUMENT_FIELDS: list[tuple[str, pa.DataType]] = [
    ("doc_id", pa.string()),  # xxh3-128 of the normalized text, 32 hex digits: equal texts share it
    ("text", pa.large_string()),
    ("source", pa.string()),
    ("source_id", pa.string()),  # unique within its source: file and line, row, key, or the field named in the config
    ("url", pa.string()),
    ("language", pa.string()),  # ISO 639-1, filled in by select
    ("license", pa.string()),
    ("n_bytes", pa.int64()),  # of the text in UTF-8
    ("metadata", _METADATA),
]
_DOCUMENT_OPTIONAL = frozenset({"url", "language", "license"})

DOCUMENTS = _table("documents", _DOCUMENT_FIELDS, _DOCUMENT_OPTIONAL)

#: What mix writes: a document and the split that it belongs to for good (train, validation, test).
MIXED_DOCUMENTS = _table("documents", [*_DOCUMENT_FIELDS, ("split", pa.string())], _DOCUMENT_OPTIONAL)

LANGUAGE_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("language", pa.string()),
    ("language_confidence", pa.float64()),
]
GOPHER_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("words", pa.int64()),
    ("mean_word_length", pa.float64()),
    ("hash_ratio", pa.float64()),
    ("ellipsis_ratio", pa.float64()),
    ("bullet_lines", pa.float64()),
    ("ellipsis_lines", pa.float64()),
    ("alpha_words", pa.float64()),
    ("stop_words", pa.int64()),
]

VERDICTS = _table(
    "verdicts",
    [
        ("doc_id", pa.string()),
        ("keep", pa.bool_()),
        ("reasons", pa.list_(pa.string())),  # all that apply, not only the first
        ("rule_version", pa.string()),
    ],
)

DUPLICATES = _table(
    "duplicates",
    [
        ("doc_id", pa.string()),  # of the removed document
        ("source", pa.string()),  # exact copies share doc_id, so where it came from tells them apart
        ("source_id", pa.string()),
        ("representative", pa.string()),  # doc_id of the document that stays in its place
        ("cluster", pa.string()),  # one representative and all that it stands for
        ("cluster_size", pa.int64()),
        ("estimated_similarity", pa.float64()),  # by MinHash
        ("exact_similarity", pa.float64()),  # Jaccard on shingles
        ("reason", pa.string()),  # exact | near
    ],
)

QUARANTINE = _table(
    "quarantine",
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("position", pa.string()),  # "line 12", "row 7", "row group 3", "file"
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("excerpt", pa.string()),  # the first bytes as they were, with \xNN where they aren't UTF-8
    ],
)

CLASSIFICATION_EXAMPLES = _table(
    "examples",
    [("doc_id", pa.string()), ("text", pa.large_string()), ("label", pa.string()), ("split", pa.string())],
)

INSTRUCTION_EXAMPLES = _table(
    "examples",
    [("doc_id", pa.string()), ("messages", pa.large_string()), ("split", pa.string())],
)


def signals_schema(*, language: bool, gopher_quality: bool) -> pa.Schema:
    """The columns of ``signals/``: ``doc_id`` and one typed column for each signal that was asked for."""
    fields: list[tuple[str, pa.DataType]] = [("doc_id", pa.string())]
    if language:
        fields += LANGUAGE_SIGNALS
    if gopher_quality:
        fields += GOPHER_SIGNALS
    return _table("signals", fields)
