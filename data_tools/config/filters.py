"""What annotate, select and clean can be told: which numbers are measured, where the lines are drawn, what is edited.

Signals and verdicts are apart: a threshold moves without reading a text again.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from data_tools.config.base import Strict

Words = Literal["whitespace", "unicode-words"]
Definitions = Literal["paper", "datatrove", "dclm"]
Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(ge=0, le=1_000_000_000)]


class QualityClassifierConfig(Strict):
    """A classifier of good and bad texts that the user trains: hashed word n-grams, linear, as fastText does."""

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset({"positive", "negative"})

    positive: tuple[str, ...] = ()
    """Files, folders or globs of good examples: Parquet or JSONL with a `text` field, or text files of one example."""
    negative: tuple[str, ...] = ()
    positive_sources: tuple[str, ...] = ()
    """Sources of ingest whose documents are good examples too."""
    negative_sources: tuple[str, ...] = ()
    word_ngrams: int = Field(default=2, ge=1, le=5)
    buckets: int = Field(default=2**20, ge=2**10, le=2**26)
    epochs: int = Field(default=5, ge=1, le=100)
    learning_rate: float = Field(default=0.1, gt=0, le=10)
    max_words: int = Field(default=2_000, ge=10, le=1_000_000)
    """Words of a document that are read."""
    holdout_fraction: float = Field(default=0.1, gt=0, lt=0.9)
    """Kept apart from training, for the accuracy that is reported."""
    seed: int = Field(default=1, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _both_sides(self) -> QualityClassifierConfig:
        for side in ("positive", "negative"):
            if not getattr(self, side) and not getattr(self, f"{side}_sources"):
                raise ValueError(f"needs {side} examples: name files in {side}, or sources of ingest in {side}_sources")
        both = sorted(set(self.positive_sources) & set(self.negative_sources))
        if both:
            raise ValueError(f"{', '.join(map(repr, both))} can't be both good and bad; take it out of one side")
        return self


class AnnotateConfig(Strict):
    """Documents to signals: numbers about each document, computed once and judged later."""

    language: bool = True
    """Identify the language (lid.176, the first `language_chars` characters)."""
    language_chars: int = Field(default=1_000, ge=50, le=100_000)
    gopher_quality: bool = True
    """The signals of Gopher's quality rules (Rae et al. 2021, appendix A1.1)."""
    gopher_repetition: bool = False
    """The signals of Gopher's repetition rules (Rae et al. 2021, table A1)."""
    fineweb: bool = False
    """The signals of FineWeb's own rules (Penedo et al. 2024, section 3.6)."""
    c4: bool = False
    """The signals of C4's page rules (Raffel et al. 2020): what its line rules would leave, and what is in it."""
    refinedweb: bool = False
    """The signals of RefinedWeb's line rules, as in DCLM's baseline: the share of words that they would remove."""
    code: bool = False
    """The signals of rules for source code (The Stack, StarCoder)."""
    personal_data: bool = False
    """How many e-mail addresses, IP addresses, phone, card and account numbers stand in the text."""
    words: Words = "whitespace"
    """What counts as a word. It moves more decisions than any threshold."""
    definitions: Definitions = "paper"
    """Whose meaning the signals have where papers and known code disagree (docs/filters.md tells each)."""
    c4_variant: Literal["paper", "code", "datatrove"] = "paper"
    """Whose line rules the C4 signals apply."""
    c4_terminal_punctuation: bool = True
    """Whether a line must end in a punctuation mark for the C4 signals to count it."""


class LanguageRule(Strict):
    keep: tuple[str, ...] = ("en",)
    """ISO 639-1 codes to keep; empty keeps all."""
    min_confidence: float = Field(default=0.65, ge=0.0, le=1.0)
    min_confidence_by_language: dict[str, Share] = Field(default_factory=dict)
    """Another threshold for single languages (FineWeb-2 has one for each)."""


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
    min_stop_words: int | None = Field(default=2, ge=0, le=1_000_000)
    """How many of the, be, to, of, and, that, have, with: distinct ones (under the `dclm` definitions, all)."""


class GopherRepetitionRule(Strict):
    """Thresholds of Rae et al. 2021, table A1 (the defaults are the paper's). None turns a rule off."""

    max_duplicate_lines: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_paragraphs: float | None = Field(default=0.30, ge=0, le=1)
    max_duplicate_line_chars: float | None = Field(default=0.20, ge=0, le=1)
    max_duplicate_paragraph_chars: float | None = Field(default=0.20, ge=0, le=1)
    max_top_2_gram: float | None = Field(default=0.20, ge=0, le=1)
    max_top_3_gram: float | None = Field(default=0.18, ge=0, le=1)
    max_top_4_gram: float | None = Field(default=0.16, ge=0, le=1)
    max_duplicate_5_grams: float | None = Field(default=0.15, ge=0, le=1)
    max_duplicate_6_grams: float | None = Field(default=0.14, ge=0, le=1)
    max_duplicate_7_grams: float | None = Field(default=0.13, ge=0, le=1)
    max_duplicate_8_grams: float | None = Field(default=0.12, ge=0, le=1)
    max_duplicate_9_grams: float | None = Field(default=0.11, ge=0, le=1)
    max_duplicate_10_grams: float | None = Field(default=0.10, ge=0, le=1)


class FineWebRule(Strict):
    """Thresholds of Penedo et al. 2024, section 3.6 (the defaults are the paper's). None turns a rule off."""

    min_line_end_punctuation: float | None = Field(default=0.12, ge=0, le=1)
    """Share of lines that end in punctuation; dropped at or below."""
    max_short_lines: float | None = Field(default=0.67, ge=0, le=1)
    """Share of lines under 30 characters; dropped at or above."""
    max_duplicate_line_chars: float | None = Field(default=0.10, ge=0, le=1)
    """Share of characters in repeated lines; dropped at or above. datatrove's default is 0.01."""
    max_newline_ratio: float | None = Field(default=None, ge=0, le=1_000)
    """Line breaks per word; datatrove has 0.3, the paper doesn't have it."""


class C4Rule(Strict):
    """Page rules of Raffel et al. 2020. None (or false) turns a rule off."""

    min_sentences: int | None = Field(default=5, ge=0, le=1_000_000)
    """On the lines that the line rules leave. The paper says 5, its reference code 3."""
    drop_lorem_ipsum: bool = True
    drop_curly_brace: bool = True
    min_long_paragraphs: int | None = Field(default=None, ge=0, le=1_000_000)
    """mC4: at least 3 lines of 200 characters or more."""


class RefinedWebRule(Strict):
    max_removed_words: float | None = Field(default=0.05, ge=0, le=1)
    """Share of words in lines that the line rules would remove."""


class CodeRule(Strict):
    """Thresholds of The Stack and StarCoder (bigcode). They apply to documents of source code only (those with
    metadata `programming_language`). None turns a rule off."""

    max_line_length: int | None = Field(default=1_000, ge=1, le=1_000_000_000)
    max_mean_line_length: float | None = Field(default=100, gt=0, le=1_000_000)
    min_alphanumeric: float | None = Field(default=0.25, ge=0, le=1)
    min_comments: float | None = Field(default=None, ge=0, le=1)
    """Share of characters in comments; bigcode keeps 0.01 to 0.8."""
    max_comments: float | None = Field(default=None, ge=0, le=1)


class UrlRule(Strict):
    """What a document's URL gives away. Documents without a URL pass."""

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset({"blocklists"})

    blocklists: tuple[str, ...] = ()
    """Files with one domain or URL a line (`#` begins a comment). A domain blocks its subdomains; a URL with a path
    blocks what begins with it."""
    banned_words: tuple[str, ...] = ()
    """A URL with one of these as a whole word (between characters that are no letters or digits) is dropped."""
    soft_banned_words: tuple[str, ...] = ()
    """A URL with two or more different ones of these is dropped (RefinedWeb)."""
    banned_substrings: tuple[str, ...] = ()
    """A URL in which one of these stands anywhere is dropped."""


class PersonalDataRule(Strict):
    """Drop documents that hold more than this of a kind. None turns a rule off."""

    max_emails: int | None = Field(default=None, ge=0, le=1_000_000)
    max_ip_addresses: int | None = Field(default=None, ge=0, le=1_000_000)
    max_phone_numbers: int | None = Field(default=None, ge=0, le=1_000_000)
    max_card_numbers: int | None = Field(default=None, ge=0, le=1_000_000)
    max_ibans: int | None = Field(default=None, ge=0, le=1_000_000)


class QualityRule(Strict):
    """The verdict on the score of the quality classifier that this run trained."""

    min_score: float | None = Field(default=0.5, ge=0, le=1)
    """The probability of being good, dropped below. None turns the rule off."""
    keep_fraction: float | None = Field(default=None, gt=0, le=1)
    """Keep this part, the best of the documents that pass all other rules, whatever their scores (DCLM keeps about
    0.1). It takes the place of `min_score`."""


Preset = Literal[
    "gopher-paper",
    "fineweb-paper",
    "datatrove-0.10",
    "c4-paper",
    "c4-code",
    "mc4-paper",
    "dclm-refinedweb",
    "code-bigcode",
    "code-santacoder",
    "fineweb-2-fra",
]


class SelectConfig(Strict):
    """Signals to verdicts. Every reason that applies is recorded, not only the first.

    Where `code` is on, it judges the documents of source code in place of the rule sets for prose (language, Gopher,
    FineWeb, C4, RefinedWeb).
    """

    presets: tuple[Preset, ...] = ()
    """Published rule sets by name (docs/filters.md). A preset fills in the sections that it consists of; single numbers
    that are said beside it win. With presets, `gopher_quality` is off unless one of them, or you, name it."""
    language: LanguageRule | None = LanguageRule()
    gopher_quality: GopherQualityRule | None = GopherQualityRule()
    gopher_repetition: GopherRepetitionRule | None = None
    fineweb: FineWebRule | None = None
    c4: C4Rule | None = None
    refinedweb: RefinedWebRule | None = None
    code: CodeRule | None = None
    url: UrlRule | None = None
    personal_data: PersonalDataRule | None = None
    quality: QualityRule | None = None
    by_language: dict[str, dict[str, dict[str, Threshold | None]]] = Field(default_factory=dict)
    """Other thresholds for single languages: `fr: {gopher_quality: {min_alpha_words: 0.7}}`."""

    @model_validator(mode="before")
    @classmethod
    def _with_presets(cls, said: Any) -> Any:
        from data_tools.filters.presets import fill_in

        return fill_in(said) if isinstance(said, dict) else said

    @model_validator(mode="after")
    def _languages_fit(self) -> SelectConfig:
        from data_tools.filters.presets import overrides

        overrides(self)
        return self


class ReplacePersonalData(Strict):
    """Kinds of personal data to replace, each by a placeholder of its own."""

    emails: bool = True
    ip_addresses: bool = True
    """Public ones; private and documentation ranges stay."""
    phone_numbers: bool = False
    card_numbers: bool = True
    """Only with a right Luhn checksum."""
    ibans: bool = True
    """Only with a right checksum."""


class CleanConfig(Strict):
    """Edits of the documents that stay: lines that the published line rules remove, personal data."""

    lines: tuple[Literal["c4-paper", "c4-code", "c4-datatrove", "refinedweb"], ...] = ()
    """Whose line rules, in this order. Source code (documents with metadata `programming_language`) is left alone."""
    c4_terminal_punctuation: bool = True
    """FineWeb turned this line rule of C4 off: alone it removes about 30 % of the tokens."""
    personal_data: ReplacePersonalData | None = None
