"""A fingerprint is decided by identity and by nothing else, and never by chance."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.config import PipelineConfig
from flows.lineage.fingerprint import canonical_json, fingerprint
from flows.lineage.store import Store
from flows.stages import stages_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(json_values)
def test_the_order_of_keys_is_no_matter(value: object) -> None:
    try:
        assert canonical_json(value) == canonical_json(reordered(value))
    except TypeError as error:
        assert "surrogate" in str(error)


def test_known_answers() -> None:
    """Pinned: a change here would orphan every artifact of every workspace."""
    value = {"b": [1, 1.0, True, None], "a": "é", "c": -0.0}
    assert canonical_json(value) == '{"a":"é","b":[1,1.0,true,null],"c":0.0}'.encode()
    body = b'{"config":{"x":0.1},"inputs":{"documents":"ab"},"stage":"mix","version":1}'
    assert fingerprint("mix", 1, {"x": 0.1}, {"documents": "ab"}) == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1: 2}, {"a": Path("x")}, {"a": object()}, {1, 2}, b"x", Decimal(1), print, "\ud800"],
    ids=lambda value: type(value).__name__,  # not repr: an address in a name is another name in the next process
)
def test_what_cant_be_fingerprinted_raises(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


def test_numbers_of_different_kinds_differ() -> None:
    assert len({canonical_json(value) for value in (1, 1.0, True, "1")}) == 4


# ---------------------------------------------------------------------------------- identity against runtime


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


def changed(value: Any) -> list[Any]:
    """Other values of the same kind; one of them will be allowed."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value * 2, value + 1, value - 1]
    if isinstance(value, float):
        return [value * 0.9, value + 0.01]
    if isinstance(value, list | tuple):
        return [[*value, "x"], list(value)[::-1], [0.8, 0.9]]
    others = ["bf16", "cosine", "muon", "nfc", "unicode-words", "jsonl", "cpu", "elsewhere", "0" * 64, 7, 0.5]
    return [other for other in others if other != value]


def with_changed(config: PipelineConfig, path: tuple[str | int, ...]) -> PipelineConfig | None:
    for other in changed(_at(config.model_dump(), path)):
        raw = config.model_dump()
        _at(raw, path[:-1])[path[-1]] = other
        try:
            made = PipelineConfig.model_validate(raw)
        except ValidationError:
            continue
        if made != config:
            return made
    return None


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = list(value)[key] if isinstance(value, tuple) else value[key]
    return value


def fingerprints(config: PipelineConfig) -> dict[str, str]:
    return {one.name: one.fingerprint for one in Store(config.workspace).plan(config)}


def downstream(config: PipelineConfig, roots: set[str]) -> set[str]:
    found = set(roots)
    for stage in stages_of(config):
        if found & set(stage.inputs.values()):
            found.add(stage.name)
    return found


OWN_STAGES = {
    "model": {"pretrain", "classifier", "classifier_from_scratch"},
    "classifier": {"classifier", "classifier_from_scratch"},
    "name": set(),
    "runtime": set(),
}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_renames_its_stage_and_all_downstream_and_nothing_else(
    data: st.DataObject, small: PipelineConfig, doors: object
) -> None:
    elsewhere = ("path", "against", "workspace", "init")  # files count by their content
    places = [path for path in leaves(small.model_dump()) if path[-1] not in elsewhere]
    path = data.draw(st.sampled_from(places))
    other = with_changed(small, path)
    if other is None or path[0] == "compare_from_scratch":
        return  # a field with one allowed value
    before, after = fingerprints(small), fingerprints(other)
    expected = downstream(other, OWN_STAGES.get(str(path[0]), {str(path[0])}))
    assert {name for name in after if after[name] != before[name]} == expected, path


def test_most_fields_can_be_changed(small: PipelineConfig) -> None:
    """The test above must not pass because nothing is ever changed."""
    places = leaves(small.model_dump())
    assert sum(with_changed(small, path) is not None for path in places) > 0.8 * len(places)


def test_the_place_of_a_source_is_no_matter_but_its_content_is(
    small: PipelineConfig, doors: object, tmp_path: Path
) -> None:
    before = fingerprints(small)
    (tmp_path / "texts").rename(tmp_path / "elsewhere")
    raw = small.model_dump()
    raw["ingest"]["sources"][0]["path"] = str(tmp_path / "elsewhere")
    moved = PipelineConfig.model_validate(raw)
    assert fingerprints(moved) == before
    (tmp_path / "elsewhere" / "a.txt").write_text("Some other text.")
    after = fingerprints(moved)
    assert all(after[name] != before[name] for name in before)


def test_leaving_a_stage_out_renames_only_what_read_it(small: PipelineConfig, doors: object) -> None:
    before = fingerprints(small)
    after = fingerprints(small.model_copy(update={"compare_from_scratch": False}))
    assert set(before) - set(after) == {"classifier_from_scratch"}
    assert {name for name in after if after[name] != before[name]} == {"evaluate"}


def test_a_new_version_of_a_stage_renames_it(small: PipelineConfig) -> None:
    stage = stages_of(small)[0]
    newer = type(stage)(**{**stage.__dict__, "version": stage.version + 1})
    assert newer.fingerprint({}) != stage.fingerprint({})
