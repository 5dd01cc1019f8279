"""What deduplicate and decontaminate can be told."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from data_tools.config.base import Strict


class LineDedupConfig(Strict):
    """Passages that stand in many documents (menus, footers, licence texts) are cut out of all but the first."""

    unit: Literal["line", "paragraph"] = "line"
    max_occurrences: int = Field(default=1, ge=1, le=1_000_000)
    """How often a passage may stand in the corpus; from the next occurrence on it is removed."""
    min_chars: int = Field(default=30, ge=1, le=1_000_000)
    """Shorter passages are left alone."""


class RedisIndexConfig(Strict):
    """An index of kept documents that several machines share, in Redis (`datasketch.MinHashLSH` storage). Its address
    comes from the environment variable GROUNDUP_REDIS_URL."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    """Several indexes may stand in one Redis."""


class DeduplicateConfig(Strict):
    """Exact copies by hash, then near copies by MinHash (Broder 1997), then parts of longer documents, each verified on
    exact shingles."""

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset({"against"})

    exact: bool = True
    minhash: bool = True
    shingle_words: int = Field(default=5, ge=1, le=50)
    bands: int = Field(default=14, ge=1, le=128)
    rows: int = Field(default=8, ge=1, le=64)
    """`bands * rows` hash functions; a pair of Jaccard similarity J meets with probability 1-(1-J^rows)^bands."""
    min_similarity: float = Field(default=0.75, ge=0.0, le=1.0)
    """Exact shingle Jaccard similarity to its representative from which a document is removed."""
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    max_comparisons: int = Field(default=32, ge=1, le=100_000)
    """Exact comparisons for one document at most, best estimate first."""
    template_documents: int = Field(default=8, ge=0, le=255)
    """A shingle that this many documents have which are no copies of each other is part of a template (a menu, a
    form). Two documents must be as similar without such shingles, too, unless the one that goes has hardly any others.
    In an index (`against`, `redis`) the documents that a new one met in a band are counted, so that a template shows
    only where there are so many. 0: documents are only compared as a whole."""
    min_containment: float | None = Field(default=0.9, gt=0.0, le=1.0)
    """Share of its exact shingles that a longer document has from which on a document is removed (a chapter beside its
    book), whatever `keep` says. Needs `minhash`. Shingles of more than `template_documents` documents are left out of
    the search. Not looked for in the earlier documents of an index. null: parts stay."""
    containment_min_shingles: int = Field(default=256, ge=1, le=1_000_000)
    """Documents of fewer distinct shingles aren't looked for in longer ones. Sketches keep one shingle of an eighth of
    this, so half the number takes twice the memory and time."""
    keep: tuple[Literal["source", "longest", "shortest", "id"], ...] = ("longest", "id")
    """Which of two copies stays: the first of these that tells them apart decides. `source` is the order of
    `source_priority`."""
    source_priority: tuple[str, ...] = ()
    lines: LineDedupConfig | None = None
    index: bool = False
    """Write `index/`: what later documents are checked against without reading these again."""
    against: tuple[str, ...] = ()
    """Index folders of earlier deduplications (the artifact folder, or the `index` in it). What is already there is
    removed here; the earlier corpus isn't touched."""
    redis: RedisIndexConfig | None = None
    """Check against this shared index, and add what stays to it."""

    @model_validator(mode="after")
    def _fits(self) -> DeduplicateConfig:
        if (self.index or self.against or self.redis) and not self.minhash:
            raise ValueError("index, against and redis need minhash, which is off")
        if "source" in self.keep and not self.source_priority:
            raise ValueError("keep names 'source', so source_priority must say in which order")
        return self


class BenchmarkConfig(Strict):
    """An evaluation set that must not be trained on."""

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset({"path"})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    path: str
    """A file, folder or glob of JSONL or Parquet."""
    fields: tuple[str, ...] = ("question",)
    """Fields that make up an example's text, joined by a blank; a list of strings is joined too."""
    id_field: str | None = None


class DecontaminateConfig(Strict):
    """Documents that share n-grams with evaluation sets are removed, or the shared part is."""

    benchmarks: tuple[BenchmarkConfig, ...] = Field(min_length=1)
    ngram_words: int = Field(default=13, ge=3, le=100)
    """GPT-3 (Brown et al. 2020, appendix C): 13 lower-cased words without punctuation."""
    rule: Literal["any", "gpt3", "coverage"] = "any"
    """`any`: one shared n-gram removes the document. `gpt3`: n-grams that stand in more than
    `max_document_matches` documents are too common to count; the match and 200 characters around it are cut out,
    pieces under 200 characters go, and so do documents cut into more than 10 pieces. `coverage`: a document goes if
    it holds at least `min_coverage` of an example's n-grams."""
    max_document_matches: int = Field(default=10, ge=1, le=1_000_000)
    min_coverage: float = Field(default=0.5, gt=0, le=1)
    short_examples: Literal["whole", "skip"] = "whole"
    """An example of fewer words than an n-gram: its whole text is looked for (from 8 words on), or it is passed
    over."""
