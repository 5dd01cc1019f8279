"""Arrow schemas of every table that the data part writes. A schema is declared, never inferred from the first rows."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

#: Raised when a column changes its name, type or meaning. Written into every Parquet file.
SCHEMA_VERSION = 2

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
    ("cluster_size", pa.int64()),  # copies that it stands for, itself included; filled in by deduplicate
]
_DOCUMENT_OPTIONAL = frozenset({"url", "language", "license", "cluster_size"})

DOCUMENTS = _table("documents", _DOCUMENT_FIELDS, _DOCUMENT_OPTIONAL)

#: What mix writes: a document, the split that it belongs to for good (train, validation, test), and which of its
#: repetitions this row is (0 for the first).
MIXED_DOCUMENTS = _table(
    "documents", [*_DOCUMENT_FIELDS, ("split", pa.string()), ("repetition", pa.int64())], _DOCUMENT_OPTIONAL
)

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
REPETITION_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("duplicate_lines", pa.float64()),  # share of lines, as all of these are shares
    ("duplicate_paragraphs", pa.float64()),
    ("duplicate_line_chars", pa.float64()),
    ("duplicate_paragraph_chars", pa.float64()),
    *((f"top_{n}_gram", pa.float64()) for n in (2, 3, 4)),
    *((f"duplicate_{n}_grams", pa.float64()) for n in range(5, 11)),
]
FINEWEB_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("line_end_punctuation", pa.float64()),
    ("short_lines", pa.float64()),
    ("fineweb_duplicate_line_chars", pa.float64()),  # its denominator leaves line breaks out
    ("newline_ratio", pa.float64()),  # line breaks per word
]
C4_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("c4_lines", pa.int64()),  # that the line rules leave
    ("c4_words", pa.int64()),  # in them
    ("c4_sentences", pa.int64()),  # in them
    ("c4_long_paragraphs", pa.int64()),  # lines of 200 characters or more, of all (mC4)
    ("c4_lorem_ipsum", pa.bool_()),
    ("c4_curly_brace", pa.bool_()),
]
REFINEDWEB_SIGNALS: list[tuple[str, pa.DataType]] = [("refinedweb_removed_words", pa.float64())]
CODE_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("max_line_length", pa.int64()),
    ("mean_line_length", pa.float64()),
    ("alphanumeric", pa.float64()),  # share of characters
    ("comments", pa.float64()),  # share of characters; 0 where the language's comments aren't known
]
PERSONAL_DATA_SIGNALS: list[tuple[str, pa.DataType]] = [
    ("emails", pa.int64()),
    ("ip_addresses", pa.int64()),
    ("phone_numbers", pa.int64()),
    ("card_numbers", pa.int64()),
    ("ibans", pa.int64()),
]
QUALITY_SIGNALS: list[tuple[str, pa.DataType]] = [("quality", pa.float64())]  # probability of "good"

#: Group (the switch in annotate; ``quality`` hangs on the trained classifier instead) to its columns, in their order.
SIGNAL_GROUPS: dict[str, list[tuple[str, pa.DataType]]] = {
    "language": LANGUAGE_SIGNALS,
    "gopher_quality": GOPHER_SIGNALS,
    "gopher_repetition": REPETITION_SIGNALS,
    "fineweb": FINEWEB_SIGNALS,
    "c4": C4_SIGNALS,
    "refinedweb": REFINEDWEB_SIGNALS,
    "code": CODE_SIGNALS,
    "personal_data": PERSONAL_DATA_SIGNALS,
    "quality": QUALITY_SIGNALS,
}

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
        ("estimated_similarity", pa.float64()),  # by MinHash, or by sketches for a part
        ("exact_similarity", pa.float64()),  # Jaccard on shingles; for a part the share of its own that the whole has
        (
            "reason",
            pa.string(),
        ),  # exact | near | contained | index-exact | index-near (in an index of earlier documents)
    ],
)

#: What a stage changed in texts that stay. Ids follow the text, so this is also the way from the old id to the new.
EDITS = _table(
    "edits",
    [
        ("doc_id", pa.string()),  # before
        ("new_doc_id", pa.string()),  # after; null where nothing was left, so that the document went
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("changes", pa.map_(pa.string(), pa.int64())),  # what was done, how often: {"c4/few-words-in-line": 3}
        ("bytes_before", pa.int64()),
        ("bytes_after", pa.int64()),
    ],
    frozenset({"new_doc_id"}),
)

#: Which document met which example of an evaluation set. A row for each such pair.
CONTAMINATION = _table(
    "contamination",
    [
        ("doc_id", pa.string()),  # before anything was cut out
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("benchmark", pa.string()),
        ("example", pa.string()),  # its id, or file and line
        ("ngrams", pa.int64()),  # distinct ones that both have
        ("coverage", pa.float64()),  # of the example's n-grams
        ("matched_text", pa.string()),  # one shared n-gram as it stands in the document
        ("action", pa.string()),  # removed | cut | kept
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

#: What the quality classifier was trained and tested on.
QUALITY_EXAMPLES = _table(
    "quality_examples",
    [
        ("doc_id", pa.string()),  # of the normalized text, as everywhere
        ("label", pa.string()),  # good | bad
        ("split", pa.string()),  # train | holdout
        ("origin", pa.string()),  # "source NAME", or the file and the position in it
        ("score", pa.float64()),  # what the trained model says
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


def signals_schema(groups: Collection[str]) -> pa.Schema:
    """The columns of ``signals/``: ``doc_id`` and one typed column for each signal of ``groups``, in the order of
    ``SIGNAL_GROUPS``."""
    fields: list[tuple[str, pa.DataType]] = [("doc_id", pa.string())]
    for group, columns in SIGNAL_GROUPS.items():
        if group in groups:
            fields += columns
    return _table("signals", fields)
