"""What mix and the sets made from its documents can be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from data_tools.config.base import Strict

Weight = Annotated[float, Field(gt=0, le=1_000_000_000)]
Amount = Annotated[int, Field(ge=1, le=10**18)]
Repetitions = Annotated[int, Field(ge=1, le=1_000)]


class MixConfig(Strict):
    """The last door of the data part: the documents as the model will meet them, each in one split for good."""

    validation_fraction: float = Field(default=0.05, ge=0.0, le=0.5)
    test_fraction: float = Field(default=0.10, ge=0.0, le=0.5)
    split_salt: str = "groundup"
    """Another salt gives another split."""
    weights: dict[str, Weight] | None = None
    """Source to its share of the training bytes (any positive numbers; they are divided by their sum). None: what
    there is. A source that isn't named is left out of training."""
    total_bytes: Amount | None = None
    """Training bytes that `weights` divide. None: as many as the scarcest source allows within `max_epochs`."""
    budgets: dict[str, Amount] | None = None
    """Source to its training bytes, instead of `weights`; a source that isn't named comes whole."""
    bytes_per_token: float = Field(default=4.0, gt=0, le=100)
    """For `tokens`, and for the tokens that are reported: there is no tokenizer yet."""
    tokens: dict[str, Amount] | None = None
    """As `budgets`, in tokens."""
    max_epochs: float = Field(default=4.0, ge=1, le=1_000)
    """A source is repeated this often at most (Muennighoff et al. 2023: up to 4 repetitions cost little)."""
    rehydrate: tuple[tuple[Amount, Repetitions], ...] | None = None
    """Cluster size from which on a document is repeated so often, by what deduplication found (FineWeb-2:
    [[1, 1], [2, 2], [3, 3], [5, 5], [100, 8], [1000, 1]])."""

    @model_validator(mode="after")
    def _one_way(self) -> MixConfig:
        said = [name for name in ("weights", "budgets", "tokens") if getattr(self, name) is not None]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} are two ways to say the same; keep one")
        if self.total_bytes is not None and self.weights is None:
            raise ValueError("total_bytes is what weights divide; there are none")
        return self


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
