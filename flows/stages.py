"""Every stage of the chain: its name, its version, its slice of the configuration, what it reads, its door.

``VERSION`` is raised by hand when a stage's code starts to mean something else for the same configuration; then its
artifacts, and everything made from them, are made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from data_tools.config import DataCardStage, Recipe
from flows.config import PipelineConfig
from flows.lineage.fingerprint import fingerprint, plain
from llm_core.config import ClassifierStage, PretrainStage

VERSION: Mapping[str, int] = {
    "ingest": 2,
    "quality_classifier": 1,
    "annotate": 2,
    "select": 2,
    "clean": 1,
    "deduplicate": 2,
    "decontaminate": 1,
    "mix": 2,
    "data_card": 1,
    "classification_set": 1,
    "instruction_set": 1,
    "tokenizer": 2,
    "shards": 2,
    "pretrain": 2,
    "classifier": 2,
    "classifier_from_scratch": 2,
    "assistant": 2,
    "evaluate": 2,
}


@dataclass(frozen=True)
class Stage:
    """One link of the chain."""

    name: str
    """The folder of its artifacts."""
    title: str
    """What people read in Prefect and on the terminal."""
    version: int
    door: str
    """The module whose ``run`` does the work."""
    config: BaseModel
    """What decides the result, and nothing else."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Input name -> name of the stage that makes it."""
    in_child: bool = False
    """Runs as a child process: it uses the device, and has to be stopped politely."""
    resumable: bool = False
    """Goes on from unfinished work of the same fingerprint."""
    reads_files: bool = False
    """Its config names files; the door's ``source_digests(config, runtime)`` tells their names and digests."""

    @property
    def identity(self) -> dict[str, object]:
        """The config as it enters the fingerprint. A file that it names counts by its content, not by its place."""
        identity = plain(self.config)
        assert isinstance(identity, dict)
        return identity

    def fingerprint(self, inputs: Mapping[str, str]) -> str:
        """The name of what this stage makes of ``inputs`` (input name -> fingerprint, or digest of a source)."""
        return fingerprint(self.name, self.version, self.identity, inputs)

    def key_in_file(self, path: str) -> str:
        """Where a person finds identity field ``path``: ``train.steps`` of pretrain is ``pretrain.steps``."""
        first, _, rest = path.partition(".")
        section = self.name.removesuffix("_from_scratch")
        if isinstance(self.config, PretrainStage | ClassifierStage):
            return f"model.{rest}" if first == "model" else f"{section}.{rest}"
        if isinstance(self.config, DataCardStage):
            return rest if first == "recipe" else f"{section}.{rest}"
        return f"{section}.{path}"


def stages_of(config: PipelineConfig) -> list[Stage]:
    """The stages that ``config`` asks for, each after everything that it reads."""
    data, llm = "data_tools.stages", "llm_core.stages"
    chain: list[Stage] = []

    def add(
        name: str,
        title: str,
        door: str,
        config: BaseModel,
        inputs: dict[str, str],
        *,
        trains: bool = False,
        resumable: bool = False,
        reads_files: bool = False,
    ) -> None:
        stage = Stage(name, title, VERSION[name], door, config, inputs, trains, trains or resumable, reads_files)
        chain.append(stage)

    add("ingest", "Read the sources", f"{data}.ingest", config.ingest, {}, resumable=True, reads_files=True)
    measured = {"documents": "ingest"}
    if config.quality_classifier is not None:
        door = f"{data}.train_quality_classifier"
        add(
            "quality_classifier",
            "Train the quality classifier",
            door,
            config.quality_classifier,
            measured,
            reads_files=True,
        )
        measured = measured | {"quality_classifier": "quality_classifier"}
    add("annotate", "Measure every document", f"{data}.annotate", config.annotate, measured, resumable=True)
    judged = {"documents": "ingest", "signals": "annotate"}
    names_files = config.select.url is not None and bool(config.select.url.blocklists)
    add(
        "select",
        "Keep the good documents",
        f"{data}.select",
        config.select,
        judged,
        resumable=True,
        reads_files=names_files,
    )
    kept = "select"
    if config.clean is not None:
        add("clean", "Edit what stays", f"{data}.clean", config.clean, {"documents": kept}, resumable=True)
        kept = "clean"
    add(
        "deduplicate",
        "Remove duplicates",
        f"{data}.deduplicate",
        config.deduplicate,
        {"documents": kept},
        resumable=True,
        reads_files=bool(config.deduplicate.against),
    )
    kept = "deduplicate"
    if config.decontaminate is not None:
        add(
            "decontaminate",
            "Remove what is in the evaluation sets",
            f"{data}.decontaminate",
            config.decontaminate,
            {"documents": kept},
            resumable=True,
            reads_files=True,
        )
        kept = "decontaminate"
    add("mix", "Mix and split", f"{data}.mix", config.mix, {"documents": kept}, resumable=True)
    told = {stage.name: stage for stage in chain if stage.name in Recipe.model_fields}
    recipe = Recipe.model_validate({name: stage.config for name, stage in told.items()})
    add(
        "data_card",
        "Write the data card",
        f"{data}.write_data_card",
        DataCardStage(card=config.data_card, recipe=recipe),
        {"documents" if name == "mix" else name: name for name in told},
    )
    if config.classification_set is not None:
        add(
            "classification_set",
            "Build the classification set",
            f"{data}.build_classification_set",
            config.classification_set,
            {"documents": "mix"},
        )
    if config.instruction_set is not None:
        add(
            "instruction_set",
            "Build the instruction set",
            f"{data}.build_instruction_set",
            config.instruction_set,
            {"documents": "mix"},
        )
    add("tokenizer", "Train the tokenizer", f"{llm}.train_tokenizer", config.tokenizer, {"documents": "mix"})
    tokenized = {"tokenizer": "tokenizer"}
    add(
        "shards",
        "Write token shards",
        f"{llm}.write_shards",
        config.shards,
        {"documents": "mix"} | tokenized,
        resumable=True,
    )
    add(
        "pretrain",
        "Pretrain the language model",
        f"{llm}.pretrain",
        PretrainStage(model=config.model, train=config.pretrain),
        {"shards": "shards"} | tokenized,
        trains=True,
    )
    if config.classifier is not None:
        door = f"{llm}.finetune_classifier"
        examples = {"examples": "classification_set"} | tokenized
        pretrained = {} if config.classifier.init == "scratch" else {"model": "pretrain"}
        tuned = ClassifierStage(model=config.model, train=config.classifier)
        add("classifier", "Fine-tune the classifier", door, tuned, pretrained | examples, trains=True)
        if config.compare_from_scratch:
            scratch = config.classifier.model_copy(update={"init": "scratch"})
            add(
                "classifier_from_scratch",
                "Train the classifier from scratch",
                door,
                ClassifierStage(model=config.model, train=scratch),
                examples,
                trains=True,
            )
    if config.assistant is not None:
        add(
            "assistant",
            "Fine-tune the assistant",
            f"{llm}.finetune_assistant",
            config.assistant,
            {"model": "pretrain", "examples": "instruction_set"} | tokenized,
            trains=True,
        )
    made = {stage.name for stage in chain}
    compared = ("classifier", "classifier_from_scratch", "classification_set", "assistant", "instruction_set")
    chain.append(
        Stage(
            "evaluate",
            "Evaluate",
            VERSION["evaluate"],
            f"{llm}.evaluate",
            config.evaluate,
            {"shards": "shards", "documents": "mix", "tokenizer": "tokenizer", "model": "pretrain"}
            | {name: name for name in compared if name in made},
            in_child=True,
        )
    )
    return chain
