from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.answers.retune import EXCERPT_CHARS, Amount, Knob, Retuned, moved_knobs, preset_diff, retune
from data_tools.config import SelectConfig
from data_tools.errors import DataError
from tests.data_tools.stages.judged_corpus import write_corpus

GROUPS = ("language", "gopher_quality")


def corpus(folder: Path, **sizes: int) -> dict[str, Path]:
    """50 documents of 0 to 490 words, ten bytes a document; every second one from ``b``, every fifth one French."""
    rows = [
        {
            "text": f"text {n:05d}",
            "source": "ab"[n % 2],
            "words": 10 * n,
            "mean_word_length": 5.0,
            "alpha_words": 1.0,
            "stop_words": 4,
            "language": "fr" if n % 5 == 0 else "en",
        }
        for n in range(50)
    ]
    write_corpus(folder, rows, GROUPS, **sizes)
    return {"documents": folder / "ingest", "signals": folder / "annotate"}


def config(**sections: Any) -> SelectConfig:
    return SelectConfig.model_validate({"language": None, **sections})


def words(samples: list[Any]) -> list[float]:
    return [sample.signals["words"] for sample in samples]


def test_a_moved_threshold(tmp_path: Path) -> None:
    inputs = corpus(tmp_path)
    found = retune(inputs, config(gopher_quality={"min_words": 100}), config(gopher_quality={"min_words": 205}), 3)
    assert found.knobs == [Knob("select.gopher_quality.min_words", 100, 205)]
    assert (found.kept_before, found.kept_after) == (Amount(40, 400), Amount(29, 290))
    assert (found.dropped, found.rescued) == (Amount(11, 110), Amount())
    assert found.reasons == {"gopher/short": (10, 21)}
    assert found.dropped_by == {"gopher/short": Amount(11, 110)} and found.rescued_from == {}
    assert found.sources == {"a": (Amount(6, 60), Amount()), "b": (Amount(5, 50), Amount())}
    assert len(found.dropped_samples) == 3 and found.rescued_samples == []
    for sample in found.dropped_samples:
        assert (sample.reasons_before, sample.reasons_after) == ((), ("gopher/short",))
        assert 100 <= sample.signals["words"] <= 200  # type: ignore[operator]
        assert sample.excerpt == f"text {sample.signals['words'] // 10:05d}"  # type: ignore[operator]
        assert sample.source_id == f"row {sample.signals['words'] // 10}"  # type: ignore[operator]
    # The nearest on both sides of the new line.
    near = found.near["select.gopher_quality.min_words"]
    assert words(near) == [200, 190, 180, 210, 220, 230]
    assert [sample.reasons_after for sample in near] == [("gopher/short",)] * 3 + [()] * 3


def test_the_way_back_rescues(tmp_path: Path) -> None:
    inputs = corpus(tmp_path)
    old, new = config(gopher_quality={"min_words": 205}), config(gopher_quality={"min_words": 100})
    there, back = retune(inputs, new, old), retune(inputs, old, new)
    assert (back.rescued, back.dropped) == (there.dropped, there.rescued)
    assert back.rescued_from == there.dropped_by
    assert [s.doc_id for s in back.rescued_samples] == [s.doc_id for s in there.dropped_samples]


def test_it_says_what_select_would_do(chain: Any) -> None:
    inputs = corpus(chain.folder, part_rows=20, row_group_rows=7)
    old = config(language={"keep": ["en"]}, gopher_quality={"min_words": 30})
    new = config(language={"keep": ["en", "fr"], "min_confidence": 0.95, "min_confidence_by_language": {"fr": 0.1}})
    found = retune(inputs, old, new)
    for amount, sections in ((found.kept_before, old), (found.kept_after, new)):
        counters = chain.run("select", sections.model_dump(exclude_unset=True))
        assert (counters["documents_out"], counters["bytes_out"]) == (amount.documents, amount.n_bytes)
    assert {knob.path for knob in found.knobs} == {
        "select.language.keep",
        "select.language.min_confidence",
        "select.language.min_confidence_by_language.fr",
        "select.gopher_quality.min_words",
    }
    assert set(found.near) == {"select.language.min_confidence", "select.gopher_quality.min_words"}


def test_parts_and_row_groups_make_no_difference(tmp_path: Path) -> None:
    def run(folder: Path, **sizes: int) -> Retuned:
        new = config(gopher_quality={"min_words": 205, "max_words": 400})
        return retune(corpus(folder, **sizes), config(), new, 4)

    assert run(tmp_path / "parts", part_rows=15, row_group_rows=4) == run(tmp_path / "one")


def test_only_the_row_groups_of_the_samples_are_read_for_their_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    inputs = corpus(tmp_path, row_group_rows=5)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def watched(file: Any, group: int, columns: Any = None, **rest: Any) -> Any:
        if columns is None and "text" in file.schema_arrow.names:
            raise AssertionError("all columns of the documents were read")
        if columns and "text" in columns:
            read.append(group)
        return whole(file, group, columns=columns, **rest)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    retune(inputs, config(), config(gopher_quality={"min_words": 51}), 1)
    assert read == [1]  # rows 5 to 9: the document that changes, and its neighbours


def test_excerpts_are_short(tmp_path: Path) -> None:
    write_corpus(tmp_path, [{"text": "é" * 5_000, "words": 100}], GROUPS)
    inputs = {"documents": tmp_path / "ingest", "signals": tmp_path / "annotate"}
    off = config(gopher_quality=None)
    found = retune(inputs, off, config(gopher_quality={"min_words": 200}))
    assert found.dropped_samples[0].excerpt == "é" * EXCERPT_CHARS
    assert found.dropped_samples[0].reasons_after[0] == "gopher/short"


def test_a_fraction_of_the_best(tmp_path: Path) -> None:
    write_corpus(tmp_path, [{"text": str(n), "quality": n / 100} for n in range(100)], ("language", "quality"))
    inputs = {"documents": tmp_path / "ingest", "signals": tmp_path / "annotate"}
    quarter, tenth = ({"quality": {"keep_fraction": share}, "gopher_quality": None} for share in (0.25, 0.1))
    found = retune(inputs, config(**quarter), config(**tenth), 2)
    assert (found.kept_before.documents, found.kept_after.documents) == (25, 10)
    near = found.near["select.quality.keep_fraction"]
    assert [sample.signals["quality"] for sample in near] == [0.89, 0.88, 0.9, 0.91]


def test_presets_side_by_side(chain: Any, make_chain: Callable[..., Any]) -> None:
    inputs = corpus(chain.folder)
    with pytest.raises(DataError, match=r"annotate\.gopher_repetition"):
        preset_diff(inputs, "gopher-paper", "c4-paper")
    rows = [
        {"text": "five", "c4_sentences": 5, "c4_lorem_ipsum": False, "c4_curly_brace": False},
        {"text": "three", "c4_sentences": 3, "c4_lorem_ipsum": False, "c4_curly_brace": False},
        {"text": "lorem", "c4_sentences": 9, "c4_lorem_ipsum": True, "c4_curly_brace": False},
    ]
    write_corpus(chain.folder / "c4", rows, ("language", "c4"))
    inputs = {"documents": chain.folder / "c4" / "ingest", "signals": chain.folder / "c4" / "annotate"}
    found = preset_diff(inputs, "c4-paper", "c4-code")
    assert found.knobs == [Knob("select.c4.min_sentences", 5, 3)]
    assert [sample.excerpt for sample in found.rescued_samples] == ["three"]
    assert found.reasons == {"c4/few-sentences": (1, 0), "c4/lorem-ipsum": (1, 1)}


def test_a_rule_set_that_comes_on_and_one_for_a_language() -> None:
    found = moved_knobs(config(), config(refinedweb={}, by_language={"fr": {"gopher_quality": {"min_words": 20}}}))
    assert Knob("select.refinedweb.max_removed_words", None, 0.05) in found
    assert Knob("select.by_language.fr.gopher_quality.min_words", None, 20.0) in found
    assert moved_knobs(config(), config(presets=["gopher-paper"], gopher_repetition=None)) == []
