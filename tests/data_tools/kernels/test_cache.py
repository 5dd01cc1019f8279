"""Compiled code has a place wherever the package lies."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data_tools import kernels

PROGRAM = """
import os
import data_tools.kernels as kernels
kernels._can_write = lambda folder: False
kernels._have_a_cache(__import__("pathlib").Path("/"))
from data_tools.dedup.minhash import MinHasher
import pyarrow as pa
MinHasher(8, 1, 5).signatures(pa.array(["a b c d e f g"], pa.large_string()))
folder = os.environ["NUMBA_CACHE_DIR"]
print(oct(os.stat(folder).st_mode & 0o777), folder)
"""


def test_where_nothing_can_be_written_a_private_folder_takes_it_and_goes(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    ).stdout.split()
    assert told[0] == "0o700"
    assert not Path(told[1]).exists()


def test_the_usual_places_are_used_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernels._have_a_cache(tmp_path / "not" / "yet" / "there")
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert kernels._can_write(tmp_path / "new")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert not kernels._can_write(tmp_path / "new")
