"""An experiment file says exactly one thing, and says clearly when it can't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.config import PipelineConfig, load_config
from flows.errors import EXIT_CONFIG, UserError


def problem(experiment: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(experiment, overrides)
    assert caught.value.exit_code == EXIT_CONFIG
    return str(caught.value)


def test_reads_what_is_written(experiment: Path) -> None:
    config = load_config(experiment)
    assert config.name == "small"
    assert config.pretrain.steps == 10
    assert config.pretrain.optimizer.lr == 1e-3  # a default


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("pretrain.steps=50", "pretrain.steps", 50),
        ("pretrain.optimizer.lr=1e-4", "pretrain.optimizer.lr", 1e-4),
        ('evaluate.prompts=["The ", "A "]', "evaluate.prompts", ("The ", "A ")),
        ("select.language=null", "select.language", None),
        ("ingest.sources.0.license=CC0", "ingest.sources", None),
        ("runtime.llm.device=cpu", "runtime.llm.device", "cpu"),
    ],
)
def test_an_override_changes_its_field(experiment: Path, override: str, path: str, value: object) -> None:
    found: object = load_config(experiment, [override])
    for key in path.split("."):
        found = getattr(found, key)
    if path == "ingest.sources":
        assert found[0].license == "CC0"  # type: ignore[index]
    else:
        assert found == value


def test_an_override_of_an_aliased_value_changes_one_place_only(tmp_path: Path) -> None:
    path = tmp_path / "aliased.yaml"
    path.write_text(
        "ingest:\n  sources:\n    - &one {kind: text, name: a, path: x, metadata_fields: [k]}\n"
        "    - {<<: *one, name: b}\n"
    )
    sources = load_config(path, ["ingest.sources.1.metadata_fields.0=other"]).ingest.sources
    assert [source.metadata_fields for source in sources] == [("k",), ("other",)]
    assert load_config(path).name == "aliased"  # the file's name is the default


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("pretrain.stepz=50", ["pretrain.stepz", "unknown key", "Did you mean 'steps'?", "--set pretrain.stepz=50"]),
        ("steps=50", ["steps", "Did you mean pretrain.steps"]),
        ("pretrain.steps=0", ["pretrain.steps", "0 is not allowed", "at least 1"]),
        ("pretrain.steps=many", ["pretrain.steps", "'many'", "whole number"]),
        ("pretrain.optimizer.lr=20", ["pretrain.optimizer.lr", "20", "more than 0 and at most 10"]),
        ("pretrain.precision=fp8", ["pretrain.precision", "'fp8'", "'fp32' or 'bf16'"]),
        ("model.heads=5", ["model", "dim 32", "5 heads"]),
        ("pretrain.batch_tokens=1000", ["pretrain.batch_tokens", "1,000", "256", "768 or 1,024"]),
        ("classification_set=null", ["classifier", "classification_set"]),
        ("instruction_set=null", ["assistant", "instruction_set"]),
        ("classifier=null", ["compare_from_scratch"]),
        ("classifier.max_tokens=512", ["classifier.max_tokens", "512", "model.context_length", "256"]),
        ("mix.validation_fraction=0", ["mix.validation_fraction"]),
        ("annotate.language=false", ["select.language", "annotate.language"]),
        ("select.language.keep=[no]", ["select.language.keep.0", "False", "quotes"]),
        ("ingest.sources.0.path=null", ["ingest.sources.0", "needs path"]),
        ("ingest.sources.3.path=x", ["ingest.sources", "list of 1"]),
        ("ingest.sources=[]", ["ingest.sources", "at least 1"]),
        ("pretrain=5", ["pretrain", "5 is not a section", "steps"]),
        ("pretrain.steps", ["section.key=value"]),
        ("pretrain.steps=[1", ["pretrain.steps=[1"]),
    ],
)
def test_what_is_wrong_is_said_with_path_value_and_bounds(experiment: Path, override: str, parts: list[str]) -> None:
    text = problem(experiment, override)
    for part in parts:
        assert part in text, text


def test_a_wrong_line_in_the_file_is_named(experiment: Path) -> None:
    text = experiment.read_text().replace("  steps: 10", "  steps: -1")
    experiment.write_text(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "steps: -1" in row)
    assert f"[line {line}]" in problem(experiment)
    assert str(experiment) in problem(experiment)


def test_all_problems_are_listed_at_once(experiment: Path) -> None:
    text = problem(experiment, "pretrain.steps=0", "mix.test_fraction=2")
    assert "2 problems" in text and "pretrain.steps" in text and "mix.test_fraction" in text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"name: a\nname: b\n", "the key 'name' stands here twice"),
        (b"ingest: {sources: [}\n", "bad.yaml:1"),
        (b"- a\n- b\n", "mapping of sections"),
        (b"name: \xff\n", "UTF-8"),
        (b"name: !!python/object:os.system {}\n", "could not determine a constructor"),
        (b"a: &a [*a]\n", "anchor"),
        (b"", "mapping of sections"),
    ],
)
def test_a_file_that_cant_be_read_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert part in problem(path)


def test_a_missing_file_names_its_neighbours(experiment: Path) -> None:
    assert "small.yaml" in problem(experiment.with_name("smal.yaml"))


def test_the_schema_keeps_the_order_of_the_fields() -> None:
    schema = PipelineConfig.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    assert {"PretrainConfig", "OptimizerConfig", "SourceConfig", "LanguageRule"} <= set(schema["$defs"])
    for part in parts:
        assert [field["position"] for field in part["properties"].values()] == list(range(len(part["properties"])))
    assert schema["$defs"]["PretrainConfig"]["properties"]["steps"]["minimum"] == 1


def test_every_number_has_bounds() -> None:
    def numbers(schema: object, path: str = "") -> list[tuple[str, dict[str, object]]]:
        if isinstance(schema, list):
            return [found for item in schema for found in numbers(item, path)]
        if not isinstance(schema, dict):
            return []
        here = [(path, schema)] if schema.get("type") in ("integer", "number") else []
        return here + [found for key, value in schema.items() for found in numbers(value, f"{path}/{key}")]

    found = numbers(PipelineConfig.model_json_schema())
    assert len(found) > 50
    for path, schema in found:
        assert schema.keys() & {"minimum", "exclusiveMinimum"}, path
        assert schema.keys() & {"maximum", "exclusiveMaximum"}, path


def test_the_example_of_a_web_corpus_is_valid_and_uses_what_there_is() -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / "web-corpus.yaml")
    assert [source.kind for source in config.ingest.sources] == ["warc", "wikipedia"]
    assert config.select.presets and config.select.url is not None and config.select.url.blocklists
    assert config.clean is not None and config.decontaminate is not None and config.mix.weights


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("mix.weights={nowhere: 1}", "mix.weights: there is no source called 'nowhere'"),
        ("mix.tokens={nowhere: 1}", "mix.tokens"),
        ("deduplicate={keep: [source, id], source_priority: [nowhere]}", "deduplicate.source_priority"),
        ("quality_classifier={positive_sources: [nowhere], negative: [x]}", "quality_classifier.positive_sources"),
        ("mix.weights={texts: 0}", "mix.weights.texts"),
    ],
)
def test_sources_that_a_section_names_must_be_there(experiment: Path, override: str, where: str) -> None:
    with pytest.raises(UserError, match=re.escape(where)):
        load_config(experiment, [override])
