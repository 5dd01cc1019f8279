"""Which encoder is used: the fastest that gives exactly the reference's ids.

Before it may work, a candidate encodes texts that are hard to get right and a sample of the real documents, in a
process of its own, so that a crash takes nothing down. One that fails or differs is left out, with the reason. The
reference itself needs no check, so there is always one that works.
"""

from __future__ import annotations

import importlib.util
import io
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm_core.tokenizer.encoders import ENCODERS, REFERENCE, Encoded
from llm_core.tokenizer.train import SPECIAL_TOKENS

if TYPE_CHECKING:
    import pyarrow as pa

#: A candidate that takes longer than this for the probe hangs.
PROBE_SECONDS = 120

_FRAGMENTS = (
    "I'm you're we've they'll he'd it's CAN'T O'REILLY'S 'tis rock'n'roll ’s ſ'ſ K'K",
    "12345 3.14159 1,000,000 0x1F ٣٤٥ १२३ Ⅷ ½ ² 5G",
    "  two   three    four\ttab\t\ttabs \n line\r\n\r\nlines\n\n\n end  ",
    "\u00a0no-break\u2003em\u3000wide\u200bzero\u2028line\u2029paragraph\x85next\x0b\x0c\x1c\x1f\ufeff",
    "naïve café Ångström ﬁne ǅ ẞ ı İ e\u0301 o\u0308\u0323 \u0301alone",
    "Ελληνικά Русский Հայերեն ქართული עברית العربية فارسی हिन्दी বাংলা தமிழ் ไทย ລາວ ខ្មែរ ᠮᠣᠩᠭᠣᠯ አማርኛ ᏣᎳᎩ",
    "東京都に住んでいます。中文，没有空格！한국어 띄어쓰기 𠀀𠮷 𝒜𝓑 𐍈 𓀀",
    "👩‍👩‍👧‍👦 👍🏽 🇫🇷🇩🇪 ☃️ ❤️‍🔥 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "def f(x):\n    return {'a': [1, 2], \"b\": x**2}  # !?;:,.()[]{}<>|&^%$#@~`\\/\n",
    "http://example.org/a_b-c?d=e&f=%20#g user@example.org C:\\temp ~/.bashrc",
    "\x00\x01\x07\x08\x1b[0m\x7f\x80\x9f \ufffd \ufffe \U0010ffff",
)


def probe_texts() -> list[str]:
    """Texts on which encoders differ where they do. Always the same ones."""
    draw = random.Random(20_240_229)
    every = [chr(code) for code in [*range(0x3000), *range(0x3000, 0x110000, 61)] if not 0xD800 <= code < 0xE000]
    scattered = draw.sample(every, len(every))
    texts = ["", " ", "\n", "a", "é", *_FRAGMENTS]
    texts += ["".join(some[at : at + 400]) for some in (every, scattered) for at in range(0, len(some), 400)]
    texts += [f"a{before}{character}{after}b" for character in every[:0x600] for before, after in pairwise(" \n ")]
    for token in SPECIAL_TOKENS:
        texts += [token, f"before{token}after", f" {token} {token}\n", token[:-1], f"<{token}>"]
    texts += [
        "a" * 30_000,
        "ab" * 10_000,
        " " * 5_000,
        "\n" * 5_000,
        " \n" * 3_000,
        "7" * 5_000,
        "é" * 5_000,
        "!" * 5_000,
    ]
    texts += ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=20_000)), "x" * 300 + " " + "y" * 70_000]
    pool = [*_FRAGMENTS, *SPECIAL_TOKENS, " ", "  ", "\n", "\t", "\r\n", "'", "'s", "word", "Words", "0"]
    texts += ["".join(draw.choices(pool, k=draw.randint(2, 8))) for _ in range(200)]
    characters = [*"aZ09 \n\t'.-_é東🙂", "\u00a0", "\u0301", "\r\n", "'ll"]
    texts += ["".join(draw.choices(characters, k=draw.randint(1, 60))) for _ in range(1000)]
    return texts


@dataclass(frozen=True)
class Choice:
    """The encoder that may be used, and why others may not."""

    name: str
    left_out: dict[str, str] = field(default_factory=dict)
    """Name -> reason."""


def choose_encoder(
    wanted: str, tokenizer: Path, documents: Sequence[str], left_out: dict[str, str] | None = None
) -> Choice:
    """The fastest encoder whose ids equal the reference's on the probe and on ``documents``.

    Args:
        wanted: `auto`, or the only one to be considered besides the reference.
        documents: a sample of what will be encoded.
        left_out: encoders that were found wanting before, with the reasons.
    """
    left_out = dict(left_out or {})
    candidates = [name for name in ENCODERS if name != REFERENCE and wanted in ("auto", name) and name not in left_out]
    left_out |= {name: "not installed" for name in candidates if importlib.util.find_spec(name) is None}
    candidates = [name for name in candidates if name not in left_out]
    if not candidates:
        return Choice(REFERENCE, left_out)
    texts = _arrow([*probe_texts(), *documents])
    expected = ENCODERS[REFERENCE](tokenizer).encode(texts)
    for name in candidates:
        reason = _fault(name, tokenizer, texts, expected)
        if reason is None:
            return Choice(name, left_out)
        left_out[name] = reason
    return Choice(REFERENCE, left_out)


def _fault(name: str, tokenizer: Path, texts: pa.LargeStringArray, expected: Encoded) -> str | None:
    """Why encoder ``name`` can't be used; None if it can."""
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("text", pa.large_string())])) as stream:
        stream.write_batch(pa.record_batch([texts], names=["text"]))
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "llm_core.tokenizer.parity", name, str(tokenizer)]
    try:
        ended = subprocess.run(
            command,
            input=sink.getvalue(),
            capture_output=True,
            timeout=PROBE_SECONDS,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        return f"took more than {PROBE_SECONDS} s for the probe"
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        return said[-1][:300] if said and ended.returncode > 0 else f"crashed (exit code {ended.returncode})"
    answer = io.BytesIO(ended.stdout)
    try:
        lengths, ids = (np.load(answer, allow_pickle=False) for _ in range(2))
    except (ValueError, EOFError, OSError):
        return "its answer can't be read"
    return difference(Encoded(ids, lengths), expected, texts)


def difference(found: Encoded, expected: Encoded, texts: pa.LargeStringArray) -> str | None:
    """Where ids differ, in words; None if nowhere."""
    if len(found.lengths) != len(expected.lengths) or found.lengths.sum() != len(found.ids):
        return "gives another number of texts than it got"
    if np.array_equal(found.lengths, expected.lengths) and np.array_equal(found.ids, expected.ids):
        return None
    starts = [np.cumsum([0, *each.lengths]) for each in (found, expected)]
    for number in range(len(texts)):
        ours, theirs = (
            each.ids[start[number] : start[number + 1]] for each, start in zip((found, expected), starts, strict=True)
        )
        if not np.array_equal(ours, theirs):
            return f"gives other ids for {texts[number].as_py()[:60]!r}"
    raise AssertionError("the ids differ, and those of no text do")


def _arrow(texts: Sequence[str]) -> pa.LargeStringArray:
    import pyarrow as pa

    return pa.array(texts, pa.large_string())


def _answer(name: str, tokenizer: str) -> None:
    """The child's side: texts by standard input, lengths and ids by standard output."""
    import pyarrow as pa

    texts = pa.ipc.open_stream(sys.stdin.buffer).read_all()["text"].combine_chunks()
    encoded = ENCODERS[name](Path(tokenizer)).encode(texts)
    answer = io.BytesIO()
    np.save(answer, encoded.lengths, allow_pickle=False)
    np.save(answer, encoded.ids, allow_pickle=False)
    sys.stdout.buffer.write(answer.getvalue())


if __name__ == "__main__":
    try:
        _answer(sys.argv[1], sys.argv[2])
    except BaseException as error:  # a panic of a library written in Rust is no Exception
        sys.exit(f"{type(error).__name__}: {error}".replace("\n", " "))
