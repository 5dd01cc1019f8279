"""Everything that the data part can be told. Each class is the identity of one stage: nothing here but
:class:`DataRuntime` says how many workers run, so moving or speeding up a run never changes what it makes."""

from data_tools.config.base import DataRuntime, Strict
from data_tools.config.card import DataCardConfig, DataCardStage, Recipe
from data_tools.config.dedup import (
    BenchmarkConfig,
    DecontaminateConfig,
    DeduplicateConfig,
    LineDedupConfig,
    RedisIndexConfig,
)
from data_tools.config.filters import (
    AnnotateConfig,
    C4Rule,
    CleanConfig,
    CodeRule,
    FineWebRule,
    GopherQualityRule,
    GopherRepetitionRule,
    LanguageRule,
    PersonalDataRule,
    QualityClassifierConfig,
    QualityRule,
    RefinedWebRule,
    ReplacePersonalData,
    SelectConfig,
    UrlRule,
)
from data_tools.config.mix import (
    ClassificationSetConfig,
    InstructionSetConfig,
    InstructionTemplate,
    MixConfig,
)
from data_tools.config.sources import ExtractConfig, IngestConfig, SourceConfig

__all__ = [
    "AnnotateConfig",
    "BenchmarkConfig",
    "C4Rule",
    "ClassificationSetConfig",
    "CleanConfig",
    "CodeRule",
    "DataCardConfig",
    "DataCardStage",
    "DataRuntime",
    "DecontaminateConfig",
    "DeduplicateConfig",
    "ExtractConfig",
    "FineWebRule",
    "GopherQualityRule",
    "GopherRepetitionRule",
    "IngestConfig",
    "InstructionSetConfig",
    "InstructionTemplate",
    "LanguageRule",
    "LineDedupConfig",
    "MixConfig",
    "PersonalDataRule",
    "QualityClassifierConfig",
    "QualityRule",
    "Recipe",
    "RedisIndexConfig",
    "RefinedWebRule",
    "ReplacePersonalData",
    "SelectConfig",
    "SourceConfig",
    "Strict",
    "UrlRule",
]
