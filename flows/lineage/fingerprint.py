"""The name of a result: sha256 over everything that decides it.

Two configurations that mean the same must give the same bytes, and anything whose bytes could differ from one
process to the next must be refused. So there is no ``str()`` and no ``repr()`` of unknown objects here: what isn't
known raises.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping

from pydantic import BaseModel


def plain(value: object, at: str = "") -> object:
    """``value`` as None, bool, int, float, str, list and dict with string keys, and nothing else.

    Raises:
        TypeError: for anything else, naming where it stands.
    """
    if value is None or isinstance(value, bool):
        return value
    # Exact types: a subclass (an enum, a numpy number) may print as something else tomorrow.
    if type(value) in (int, str):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise TypeError(f"{at or 'value'}: {value} can't be fingerprinted, it isn't a finite number")
        return value + 0.0  # -0.0 becomes 0.0: they are equal, so they must not be two names
    if isinstance(value, BaseModel):
        # Where a file lies doesn't count: its content enters as an input of the stage.
        elsewhere: frozenset[str] = getattr(type(value), "FILE_FIELDS", frozenset())
        return {
            name: plain(getattr(value, name), f"{at}.{name}".lstrip("."))
            for name in type(value).model_fields
            if name not in elsewhere
        }
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{at or 'value'}: key {key!r} can't be fingerprinted, only text keys can")
        return {key: plain(item, f"{at}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{at}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{at or 'value'}: a {type(value).__qualname__} can't be fingerprinted")


def canonical_json(value: object) -> bytes:
    """One spelling for one value: sorted keys, no blanks, UTF-8, shortest exact decimals (``repr`` of a float).

    Raises:
        TypeError: for anything that can't be fingerprinted (see :func:`plain`).
    """
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"text with a lone surrogate can't be fingerprinted: {error}") from None


def fingerprint(stage_name: str, version: int, config: object, inputs: Mapping[str, str]) -> str:
    """64 hex digits that name what ``stage_name`` makes of ``inputs`` under ``config``.

    Args:
        stage_name: two stages with equal configs are still two stages.
        version: of the stage's meaning; raised by hand when the code starts to mean something else.
        config: the identity config of the stage; nothing about where or how fast it is computed.
        inputs: input name -> fingerprint of what is read there (content digests for source files).
    """
    body = {"stage": stage_name, "version": version, "config": config, "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(body)).hexdigest()
