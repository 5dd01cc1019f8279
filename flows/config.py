"""One YAML file is one whole experiment: the leaf configs of both libraries, section by section, plus ``runtime``.

Everything outside ``runtime`` is identity: it decides what comes out, and it enters the fingerprints. Nothing in
``runtime`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from data_tools.config import (
    AnnotateConfig,
    ClassificationSetConfig,
    CleanConfig,
    DataCardConfig,
    DataRuntime,
    DecontaminateConfig,
    DeduplicateConfig,
    IngestConfig,
    InstructionSetConfig,
    MixConfig,
    QualityClassifierConfig,
    SelectConfig,
    Strict,
)
from flows.config_errors import describe_errors, lines_of
from flows.config_yaml import apply_override, read_yaml
from flows.errors import UserError
from llm_core.config import (
    AssistantConfig,
    ClassifierConfig,
    EvaluateConfig,
    LlmRuntime,
    ModelConfig,
    PretrainConfig,
    ShardsConfig,
    TokenizerConfig,
)


class TrackingConfig(Strict):
    """Where MLflow shows the runs. The files that the stages write stay the source of truth."""

    enabled: bool = True
    uri: str | None = None
    """None: `MLFLOW_TRACKING_URI`, or a SQLite file in the workspace."""
    experiment: str | None = Field(default=None, min_length=1, max_length=200)
    """The MLflow experiment, and the beginning of the models' names in its registry. None: the config's `name`."""


class RuntimeConfig(Strict):
    """How it is computed and where it is kept. Nothing here changes what comes out."""

    workspace: str = Field(default="workspace", min_length=1)
    """Folder of artifacts, runs and databases."""
    data: DataRuntime = DataRuntime()
    llm: LlmRuntime = LlmRuntime()
    tracking: TrackingConfig = TrackingConfig()


class PipelineConfig(Strict):
    """Raw text in, a language model out. The sections stand in the order of the stages."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """What people call this experiment."""
    ingest: IngestConfig
    quality_classifier: QualityClassifierConfig | None = None
    """None: no classifier of good and bad texts is trained, and no document has a `quality`."""
    annotate: AnnotateConfig = AnnotateConfig()
    select: SelectConfig = SelectConfig()
    clean: CleanConfig | None = None
    """None: the texts that stay are not edited."""
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    decontaminate: DecontaminateConfig | None = None
    """None: nothing is compared with evaluation sets."""
    mix: MixConfig = MixConfig()
    data_card: DataCardConfig = DataCardConfig()
    classification_set: ClassificationSetConfig | None = None
    """None: no labelled texts, no classifier."""
    instruction_set: InstructionSetConfig | None = None
    """None: no conversations, no assistant."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    shards: ShardsConfig = ShardsConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    classifier: ClassifierConfig | None = None
    """None: no classifier."""
    compare_from_scratch: bool = False
    """Train the same classifier from random weights too, to see what pretraining is worth."""
    assistant: AssistantConfig | None = None
    """None: no assistant."""
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> PipelineConfig:
        problems = list(self._problems())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> list[str]:
        """What each section allows by itself, but not beside the others. Every line begins with the field's path."""
        from data_tools.filters.presets import problems

        found = problems(self.annotate, self.select, self.clean, scored=self.quality_classifier is not None)
        found += self._unknown_sources()
        held_out = self.mix.validation_fraction + self.mix.test_fraction
        if held_out >= 1:
            found.append(f"mix: validation_fraction + test_fraction is {held_out:g}, so nothing is left to train on")
        if self.mix.validation_fraction == 0:
            found.append(
                "mix.validation_fraction: 0 leaves nothing to measure the model on; evaluate needs more than 0"
            )
        if self.classifier is not None and self.mix.test_fraction == 0:
            found.append("mix.test_fraction: 0 leaves nothing to test the classifier on; it needs more than 0")
        context, batch = self.model.context_length, self.pretrain.batch_tokens
        if batch % context:
            below, above = batch // context * context, (batch // context + 1) * context
            near = f"{below:,} or {above:,}" if below else f"{above:,}"
            found.append(
                f"pretrain.batch_tokens: {batch:,} is not a whole number of rows of model.context_length "
                f"({context:,}) tokens; nearest: {near}"
            )
        if self.classifier is not None and self.classification_set is None:
            found.append("classifier: needs a section classification_set, which says what its labels are")
        if self.compare_from_scratch and self.classifier is None:
            found.append("compare_from_scratch: there is no section classifier to compare with")
        if self.compare_from_scratch and self.classifier is not None and self.classifier.init == "scratch":
            found.append("compare_from_scratch: classifier.init is 'scratch' already; there is nothing to compare")
        if self.assistant is not None and self.instruction_set is None:
            found.append("assistant: needs a section instruction_set, which says what its conversations are")
        for section in ("classifier", "assistant"):
            tuned: ClassifierConfig | AssistantConfig | None = getattr(self, section)
            if tuned is not None and tuned.max_tokens > context:
                found.append(
                    f"{section}.max_tokens: {tuned.max_tokens:,} is longer than model.context_length ({context:,}), "
                    "which is all that the model sees at once"
                )
        return found

    def _unknown_sources(self) -> list[str]:
        """Names of sources that ingest doesn't have, in the sections that speak of them."""
        known = [source.name for source in self.ingest.sources]
        named: dict[str, Iterable[str]] = {
            f"mix.{way}": getattr(self.mix, way) or () for way in ("weights", "budgets", "tokens")
        }
        named["deduplicate.source_priority"] = self.deduplicate.source_priority
        if self.quality_classifier is not None:
            for side in ("positive_sources", "negative_sources"):
                named[f"quality_classifier.{side}"] = getattr(self.quality_classifier, side)
        return [
            f"{where}: there is no source called {name!r}; ingest has {', '.join(known)}"
            for where, names in named.items()
            for name in names
            if name not in known
        ]

    @property
    def workspace(self) -> Path:
        return Path(self.runtime.workspace).expanduser().absolute()

    def data_runtime(self) -> DataRuntime:
        """The data part's runtime, with downloads kept in the workspace unless another place is named."""
        cache = self.runtime.data.cache or str(self.workspace / "cache")
        return self.runtime.data.model_copy(update={"cache": cache})

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Number the fields: Prefect's form sorts them by ``position``, and by the alphabet without it."""
        made = handler(schema)
        _number(made, handler, set())
        return made


def _number(schema: Any, handler: GetJsonSchemaHandler, seen: set[str]) -> None:
    if isinstance(schema, list):
        for item in schema:
            _number(item, handler, seen)
    elif isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference not in seen:
                seen.add(reference)
                _number(handler.resolve_ref_schema(dict(schema)), handler, seen)
            return
        for position, field in enumerate(schema.get("properties", {}).values()):
            if isinstance(field, dict):
                field["position"] = position
                _number({key: value for key, value in field.items() if key != "default"}, handler, seen)
        for key in ("items", "anyOf", "allOf", "oneOf", "prefixItems"):
            _number(schema.get(key), handler, seen)
        if "$ref" not in schema:
            for key, value in schema.items():
                if isinstance(value, dict) and "$ref" in value and key != "properties":
                    _number(value, handler, seen)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Read an experiment.

    Args:
        path: the YAML file.
        overrides: ``section.key=value`` with a YAML value, such as ``pretrain.steps=50`` or
            ``evaluate.prompts=["The "]``. List items go by number: ``ingest.sources.0.path=texts``.

    Raises:
        UserError: the file is missing, isn't YAML, or says something that can't be; the message names the file, the
            field, the value and what would be allowed.
    """
    path = Path(path)
    raw = read_yaml(path)
    raw.setdefault("name", path.stem)
    for override in overrides:
        apply_override(raw, override)
    try:
        return PipelineConfig.model_validate(raw)
    except ValidationError as error:
        problems = describe_errors(error, PipelineConfig, lines=lines_of(path), overrides=overrides)
        raise UserError(problems, where=str(path)) from None


def explain_validation_error(error: ValidationError) -> str:
    """The same words for a configuration that didn't come out of a file (a form, a call)."""
    return describe_errors(error, PipelineConfig)
