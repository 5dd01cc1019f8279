"""The shared index, on a real Redis that the tests start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasketch import LeanMinHash, MinHashLSH

from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.dedup.index import EarlierDocuments, open_indexes
from data_tools.errors import DataError
from tests.data_tools.dedup.test_index import (
    check_pages_of_a_site,
    described,
    jaccard,
    overlapping_sets,
    pages_of_a_site,
)
from tests.data_tools.redis_server import free_port, redis_server

redis = pytest.importorskip("redis", reason="the redis package (extra `redis`) isn't installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    redis.Redis.from_url(server).flushall()
    monkeypatch.setenv("GROUNDUP_REDIS_URL", server)
    return server


def shared(batch: str, **settings: Any) -> EarlierDocuments:
    earlier = open_indexes(
        DeduplicateConfig(redis={"name": "web", **settings.pop("redis", {})}, **settings), DataRuntime(), batch
    )
    assert earlier is not None
    return earlier


def test_tomorrow_finds_what_today_kept(address: str) -> None:
    today = described([*overlapping_sets(200, 1), set()])
    with shared("today") as earlier:
        assert not any(earlier.match(*today))
        earlier.add(*today)
    new = described(overlapping_sets(200, 2, like=overlapping_sets(200, 1)))
    lsh = MinHashLSH(num_perm=112, params=(14, 8))
    for doc_id, signature in zip(today[0][:200], today[1], strict=False):
        lsh.insert(doc_id, LeanMinHash(seed=1, hashvalues=signature, scheme="affine32"))
    shingles = dict(zip(today[0], today[2], strict=True))
    with shared("tomorrow") as earlier:
        assert all(match and match.reason == "index-exact" for match in earlier.match(*today))
        matches = earlier.match(*new)
        assert earlier._shared is not None
        candidates = earlier._shared.candidates(new[1])
    for row, match in enumerate(matches):
        expected = lsh.query(LeanMinHash(seed=1, hashvalues=new[1][row], scheme="affine32"))
        assert candidates[row] == sorted(expected)
        alike = [one for one in expected if jaccard(shingles[one], new[2][row]) >= 0.75]
        assert (match.representative in alike) if match else not alike
    assert sum(match is not None for match in matches) > 40


def test_datasketch_reads_what_we_wrote(address: str) -> None:
    documents = described(overlapping_sets(20, 4))
    with shared("today") as earlier:
        earlier.add(*documents)
    port = int(address.rsplit(":", 1)[1].split("/")[0])
    storage = {"type": "redis", "basename": b"groundup:web:lsh", "redis": {"host": "127.0.0.1", "port": port}}
    lsh = MinHashLSH(num_perm=112, params=(14, 8), storage_config=storage, prepickle=False)
    for doc_id, signature in zip(documents[0], documents[1], strict=True):
        assert lsh.query(LeanMinHash(seed=1, hashvalues=signature, scheme="affine32")) == [doc_id.encode()]


def test_a_run_that_is_repeated_does_not_find_itself(address: str) -> None:
    sets = overlapping_sets(30, 1)
    documents = described(sets)
    part = documents[0][:10], documents[1][:10], documents[2][:10]
    with shared("run 7") as earlier:
        earlier.add(*part)
    client = redis.Redis.from_url(address)
    # As after a kill between a document and its bands.
    client.delete(*[key for key in client.keys("*") if b"_bucket_" in key and not key.endswith(b"_")][::2])
    with shared("run 7") as earlier:
        assert not any(earlier.match(*documents))
        for _ in range(2):
            earlier.add(*documents)
    near = described([one - {min(one)} for one in sets])
    with shared("run 8") as earlier:
        assert all(match and match.reason == "index-near" for match in earlier.match(*near))
        earlier.add(*documents)  # stands there already, and stays run 7's
    with shared("run 7") as earlier:
        assert not any(earlier.match(*documents))
    for key in client.keys("groundup:web:lsh_keys?*"):
        assert client.llen(key) == 14


def test_indexes_with_other_names_know_nothing_of_each_other(address: str) -> None:
    documents = described(overlapping_sets(5, 1))
    with shared("one") as earlier:
        earlier.add(*documents)
    with shared("two", redis={"name": "other"}) as earlier:
        assert not any(earlier.match(*documents))


def test_other_parameters_are_refused_by_name(address: str) -> None:
    shared("one").close()
    with pytest.raises(DataError, match="rows is 8 there and 4 here"):
        shared("two", rows=4)


def test_nothing_is_unpickled_and_damage_is_named(address: str, tmp_path: Path) -> None:
    sets = overlapping_sets(3, 1)
    documents = described(sets)
    with shared("one") as earlier:
        earlier.add(*documents)
    client = redis.Redis.from_url(address)
    assert not any(b"\x80\x04\x95" in key for key in client.keys("*"))  # the beginning of a pickle
    near = described([one - {min(one)} for one in sets])
    for key in client.keys("groundup:web:member:*"):
        client.hset(key, "shingles", b"cos\nsystem\n(S'false'\ntR.")
    with shared("two") as earlier, pytest.raises(DataError, match="damaged"):
        earlier.match(*near)


def test_without_a_server_or_an_address_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDUP_REDIS_URL", raising=False)
    with pytest.raises(DataError, match="GROUNDUP_REDIS_URL"):
        shared("one")
    monkeypatch.setenv("GROUNDUP_REDIS_URL", "http://example.org")
    with pytest.raises(DataError, match="isn't an address of a Redis"):
        shared("one")
    port = free_port()
    monkeypatch.setenv("GROUNDUP_REDIS_URL", f"redis://user:secret@127.0.0.1:{port}/0")
    with pytest.raises(DataError, match=f"127.0.0.1:{port}") as caught:
        shared("one")
    assert "secret" not in str(caught.value)


def test_pages_that_share_a_menu_with_earlier_ones_stay(address: str) -> None:
    with shared("yesterday") as earlier:
        earlier.add(*described(pages_of_a_site()[0]))

    def match(rule: dict[str, Any], documents: Any) -> Any:
        with shared("today", **rule) as earlier:
            return earlier.match(*documents)

    check_pages_of_a_site(match)
