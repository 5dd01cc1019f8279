"""What the data card can be told, and what it tells of the other stages."""

from __future__ import annotations

from pydantic import Field

from data_tools.config.base import Strict
from data_tools.config.dedup import DecontaminateConfig, DeduplicateConfig
from data_tools.config.filters import AnnotateConfig, CleanConfig, SelectConfig
from data_tools.config.mix import MixConfig
from data_tools.config.sources import IngestConfig


class DataCardConfig(Strict):
    """The page that says what the corpus is, where it came from, what was removed and why."""

    title: str = Field(default="Data card", min_length=1, max_length=200)
    about: str = Field(default="", max_length=20_000)
    """What a reader should know beyond the numbers: purpose, provenance, known gaps. Paragraphs are kept."""
    examples: int = Field(default=3, ge=0, le=50)
    """Documents shown for each reason, and pairs of duplicates. They hold text of the corpus."""
    excerpt_chars: int = Field(default=240, ge=20, le=10_000)
    """Characters of each example's beginning."""


class Recipe(Strict):
    """The configuration of every stage before the card; None for one that the run doesn't have."""

    ingest: IngestConfig | None = None
    annotate: AnnotateConfig | None = None
    select: SelectConfig | None = None
    clean: CleanConfig | None = None
    deduplicate: DeduplicateConfig | None = None
    decontaminate: DecontaminateConfig | None = None
    mix: MixConfig | None = None


class DataCardStage(Strict):
    """The whole configuration of the stage: what the user says about the card, and the recipe that it prints."""

    card: DataCardConfig = DataCardConfig()
    recipe: Recipe = Recipe()
