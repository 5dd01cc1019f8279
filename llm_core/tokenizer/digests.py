"""The sha256 of a tokenizer's files, kept beside them: one flipped bit, and text would quietly mean something else."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from llm_core.atomic import sha256_of, write_json
from llm_core.errors import LlmCoreError

DIGEST_FILE = "tokenizer.sha256.json"
_FIX = "Restore the file, or run the tokenizer stage again."


def write_digests(folder: Path, names: Sequence[str]) -> None:
    """Write the digests of ``names``, files of ``folder``."""
    write_json(folder / DIGEST_FILE, {name: sha256_of(folder / name) for name in names})


def verify_digests(folder: Path) -> None:
    """Compare the files with the digests, where there are any: a tokenizer of other origin has none.

    Raises:
        LlmCoreError: names the file that is missing or isn't what was written, or the file of digests itself.
    """
    path = folder / DIGEST_FILE
    if not path.is_file():
        return
    try:
        digests = json.loads(path.read_bytes())
        if not isinstance(digests, dict) or not digests:
            raise ValueError("no object")
        if not all(re.fullmatch(r"[0-9a-f]{64}", str(digest)) for digest in digests.values()):
            raise ValueError("a digest is no sha256")
    except ValueError as error:  # not JSON, not UTF-8, or not digests
        raise LlmCoreError(f"the digests can't be read ({error}).", where=str(path), fix=_FIX) from error
    for name, digest in digests.items():
        file = folder / Path(name).name  # of this folder, whatever a damaged name says
        if not file.is_file():
            raise LlmCoreError(f"the file is missing; {DIGEST_FILE} names it.", where=str(file), fix=_FIX)
        if sha256_of(file) != digest:
            raise LlmCoreError(
                f"the file is not what was written: its sha256 is not that in {DIGEST_FILE}.", where=str(file), fix=_FIX
            )
