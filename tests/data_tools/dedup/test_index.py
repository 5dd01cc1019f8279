"""The index of kept documents, against a plain search through everything and against datasketch's MinHashLSH."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from datasketch import LeanMinHash, MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.dedup.index import IndexWriter, index_digests, open_indexes
from data_tools.dedup.index_folder import IndexFolder
from data_tools.errors import DataError
from data_tools.text import document_id

Documents = tuple[list[str], npt.NDArray[np.uint32], list[npt.NDArray[np.uint64]]]
BANDS, ROWS = 14, 8


def described(sets: list[set[int]], *, bands: int = BANDS, rows: int = ROWS, seed: int = 1) -> Documents:
    """Sets of numbers as documents: hashes of the numbers are their shingles, and datasketch makes the signatures."""
    shingles = [np.array(sorted(shingle(number) for number in one), dtype=np.uint64) for one in sets]
    ids = [document_id(json.dumps(sorted(one))) for one in sets]
    signatures = []
    for one in shingles:
        minhash = MinHash(bands * rows, seed, hashfunc=int, scheme="affine32")
        minhash.update_batch((one >> np.uint64(32)).tolist())
        signatures.append(minhash.hashvalues)
    return ids, np.array(signatures, dtype=np.uint32).reshape(-1, bands * rows), shingles


def shingle(number: int) -> int:
    return xxhash.xxh3_64_intdigest(str(number).encode())


def overlapping_sets(count: int, seed: int, like: list[set[int]] | None = None) -> list[set[int]]:
    """Random sets; each is a changed copy of one of ``like`` where that is given."""
    generator = random.Random(seed)
    made = []
    for index in range(count):
        if like is None:
            made.append({generator.getrandbits(64) for _ in range(generator.randint(20, 120))})
        else:
            original = sorted(like[index % len(like)])
            kept = generator.sample(original, int(len(original) * generator.uniform(0.5, 1.0)))
            made.append({*kept, *(generator.getrandbits(64) for _ in range(generator.randint(0, 10)))})
    return made


def written(folder: Path, documents: Documents, **parameters: int) -> Path:
    ids, signatures, shingles = documents
    values = {"bands": BANDS, "rows": ROWS, "shingle_words": 5, "seed": 1, **parameters}
    with IndexWriter(folder, **values) as writer:
        for start in range(0, len(ids), 37):
            part = slice(start, start + 37)
            writer.add(ids[part], signatures[part], shingles[part])
    return folder


def configured(*against: Path, **settings: Any) -> DeduplicateConfig:
    return DeduplicateConfig(against=tuple(map(str, against)), **settings)


def jaccard(a: Any, b: Any) -> float:
    a, b = set(a.tolist()), set(b.tolist())
    return len(a & b) / len(a | b)


@pytest.fixture(scope="module")
def kept() -> Documents:
    return described([*overlapping_sets(300, 1), set(), {1, 2, 3}])


@pytest.fixture(scope="module")
def index(kept: Documents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("artifact") / "index", kept)


def test_what_is_found_is_what_datasketch_finds_and_comparison_confirms(index: Path, kept: Documents) -> None:
    new = described(overlapping_sets(300, 2, like=overlapping_sets(300, 1)))
    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    for row, doc_id in enumerate(kept[0][:300]):
        lsh.insert(doc_id, LeanMinHash(seed=1, hashvalues=kept[1][row], scheme="affine32"))
    position = {doc_id: row for row, doc_id in enumerate(kept[0])}
    earlier = open_indexes(configured(index), DataRuntime())
    assert earlier is not None
    with earlier:
        matches = earlier.match(*new)
    near = 0
    for row, match in enumerate(matches):
        candidates = lsh.query(LeanMinHash(seed=1, hashvalues=new[1][row], scheme="affine32"))
        similar = {one: jaccard(kept[2][position[one]], new[2][row]) for one in candidates}
        expected = [one for one, similarity in similar.items() if similarity >= 0.75]
        assert (match is not None) == bool(expected)
        if match is not None:
            near += 1
            assert match.representative in expected and match.reason == "index-near"
            assert match.exact_similarity == pytest.approx(similar[match.representative])
            other = kept[1][position[match.representative]]
            assert match.estimated_similarity == pytest.approx((other == new[1][row]).mean())
    assert 50 < near < 250


def test_equal_texts_are_found_by_their_id(index: Path, kept: Documents) -> None:
    """Those without a single word too, which have no shingles."""
    for config, reason in ((configured(index), "index-exact"), (configured(index, exact=False), "index-near")):
        earlier = open_indexes(config, DataRuntime())
        assert earlier is not None
        matches = earlier.match(*kept)
        for doc_id, shingles, match in zip(kept[0], kept[2], matches, strict=True):
            if not len(shingles) and reason == "index-near":
                assert match is None
                continue
            assert match is not None and match.reason == reason
            assert match.representative == doc_id and match.exact_similarity == 1.0


def test_documents_without_words_are_no_copies_of_each_other(index: Path) -> None:
    _, signatures, shingles = described([set(), set()])
    earlier = open_indexes(configured(index), DataRuntime())
    assert earlier is not None and earlier.match(["a" * 32, "b" * 32], signatures, shingles) == [None, None]


def test_the_first_index_that_has_it_is_named(tmp_path: Path) -> None:
    one, two = overlapping_sets(2, 5)
    first = written(tmp_path / "first" / "index", described([one]))
    second = written(tmp_path / "second", described([one - {min(one)}, two]))
    new = described([one - {max(one)}, two, {7}])
    earlier = open_indexes(configured(first.parent, second), DataRuntime())
    assert earlier is not None
    names = [match.representative if match else None for match in earlier.match(*new)]
    assert names == [described([one])[0][0], described([two])[0][0], None]
    assert open_indexes(DeduplicateConfig(), DataRuntime()) is None


def test_the_number_of_comparisons_is_bounded_and_the_best_estimate_comes_first(tmp_path: Path) -> None:
    base = overlapping_sets(1, 8)[0]
    siblings = [base - set(random.Random(i).sample(sorted(base), 3)) | {i} for i in range(40)]
    documents = described(siblings)
    folder = written(tmp_path / "index", documents)
    new = described([base])
    for comparisons in (1, 4, 1000):
        earlier = open_indexes(configured(folder, max_comparisons=comparisons), DataRuntime())
        assert earlier is not None
        (match,) = earlier.match(*new)
        assert match is not None and match.exact_similarity > 0.75


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 60), max_size=25), max_size=12), st.integers(1, 4), st.integers(1, 3))
def test_a_member_is_always_found_and_a_match_is_always_alike(
    tmp_path_factory: pytest.TempPathFactory, sets: list[set[int]], bands: int, rows: int
) -> None:
    folder = tmp_path_factory.mktemp("index")
    documents = described(sets, bands=bands, rows=rows)
    written(folder, documents, bands=bands, rows=rows)
    config = configured(folder, bands=bands, rows=rows, min_similarity=0.5)
    by_id = dict(zip(documents[0], documents[2], strict=True))
    earlier = IndexFolder(folder, config)
    assert all(match and match.reason == "index-exact" for match in earlier.match(*documents))
    others = described([{*one, 61} for one in sets], bands=bands, rows=rows)
    for match, shingles in zip(earlier.match(*others), others[2], strict=True):
        if match is not None:
            assert match.exact_similarity == pytest.approx(jaccard(by_id[match.representative], shingles))
            assert match.exact_similarity >= 0.5
    earlier.close()


def test_other_parameters_are_refused_by_name(index: Path) -> None:
    with pytest.raises(DataError, match=r"bands is 14 there and 20 here; seed is 1 there and 2 here"):
        open_indexes(configured(index, bands=20, seed=2), DataRuntime())


def test_a_damaged_or_missing_file_is_named(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    with pytest.raises(DataError, match=r"index\.json is missing"):
        open_indexes(configured(tmp_path), DataRuntime())
    for name in ("members.parquet", "shingles.parquet", "bands.parquet"):
        for file in index.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            open_indexes(configured(tmp_path), DataRuntime())
    (folder / "index.json").write_text("{}")
    with pytest.raises(DataError, match="of no use"):
        open_indexes(configured(folder), DataRuntime())


def test_an_index_is_the_same_bytes_and_has_a_digest(index: Path, kept: Documents, tmp_path: Path) -> None:
    again = written(tmp_path / "index", kept)
    assert sorted(file.name for file in again.iterdir()) == sorted(file.name for file in index.iterdir())
    assert all((again / file.name).read_bytes() == file.read_bytes() for file in index.iterdir())
    assert index_digests([str(index.parent), str(again)]) == index_digests([str(again), str(index)])
    other = written(tmp_path / "other", described([{1}]))
    assert index_digests([str(other)]) != index_digests([str(index)])


def test_an_index_that_was_not_closed_is_none(tmp_path: Path, kept: Documents) -> None:
    with pytest.raises(RuntimeError), IndexWriter(tmp_path, bands=BANDS, rows=ROWS, shingle_words=5, seed=1) as writer:
        writer.add(*kept)
        raise RuntimeError
    with pytest.raises(DataError, match=r"index\.json is missing"):
        open_indexes(configured(tmp_path), DataRuntime())
    written(tmp_path, kept)
    assert not list(tmp_path.glob("*.tmp"))


def test_keys_of_many_row_groups_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Documents) -> None:
    monkeypatch.setattr("data_tools.dedup.index_writer._KEY_ROWS", 7)
    monkeypatch.setattr("data_tools.dedup.index_writer._MEMBER_ROWS", 10)
    monkeypatch.setattr("data_tools.dedup.index_writer._SHINGLE_GROUP_BYTES", 2_000)
    small = IndexFolder(written(tmp_path / "small", kept), configured(tmp_path, exact=False))
    new = described(overlapping_sets(100, 3, like=overlapping_sets(300, 1)))
    matches = small.match(*new)
    monkeypatch.undo()
    assert matches == IndexFolder(written(tmp_path / "large", kept), configured(tmp_path, exact=False)).match(*new)
    assert any(matches)


def test_bytes_for_each_document_beside_signature_and_shingles(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    signatures = generator.integers(0, 2**32, (20_000, BANDS * ROWS), dtype=np.uint32)
    shingles = [np.array([number], dtype=np.uint64) for number in range(20_000)]
    with IndexWriter(tmp_path, bands=BANDS, rows=ROWS, shingle_words=5, seed=1) as writer:
        writer.add([document_id(str(number)) for number in range(20_000)], signatures, shingles)
    files = json.loads((tmp_path / "index.json").read_text())["files"]
    beside = files["bands.parquet"]["bytes"] + files["members.parquet"]["bytes"] - signatures.nbytes
    assert beside / 20_000 <= 256


def pages_of_a_site() -> tuple[list[set[int]], list[set[int]], set[int], set[int]]:
    """Earlier pages that share a menu and later ones, a copy of an earlier one, and a page with the menu only."""
    menu = set(range(400))
    pages = [menu | set(range(1_000 * i, 1_000 * i + 50)) for i in range(1, 61)]
    return pages[:40], pages[40:], pages[3] - {4_000} | {99_999}, menu | {99_998}


def check_pages_of_a_site(match: Any) -> None:
    """``match(config, documents)`` looks documents up among the earlier pages."""
    earlier, later, copy, nothing_new = pages_of_a_site()
    found = match({}, described([*later, copy, nothing_new]))
    assert not any(found[:-2])
    assert found[-2] is not None and found[-2].representative == described([earlier[3]])[0][0]
    assert found[-1] is not None
    # As wholes they are alike.
    assert all(match({"template_documents": 0}, described(later)))


def test_pages_that_share_a_menu_with_earlier_ones_stay(tmp_path: Path) -> None:
    folder = written(tmp_path / "index", described(pages_of_a_site()[0]))

    def match(rule: dict[str, Any], documents: Documents) -> Any:
        earlier = open_indexes(configured(folder, **rule), DataRuntime())
        assert earlier is not None
        return earlier.match(*documents)

    check_pages_of_a_site(match)
