"""Text to pieces (words, digits, punctuation, spaces) and how often each occurs, in bounded memory.

The pieces are those of :func:`llm_core.tokenizer.train.piece_pattern`, found by a compiled loop over UTF-8 instead of a
regular expression: one pass, no object a piece, each piece looked up in a hash table that compares its bytes. What is a
letter, a digit or a space is asked of the library that encodes later, so that both always agree.

Distinct pieces are as many as the text is long (names, typing errors, numbers), so the table has a bound. Where it is
full, the rarest half is let go, as in Manku and Motwani (2002, "Approximate frequency counts over data streams"): with
each piece goes the number of times that it may have been missed before it was (last) noticed, and those go whose count
and missed number together are smallest. No piece that occurred more often than :attr:`PieceCounts.most_missed` is ever
lost, and no count is short by more. Below the bound the counts are exact, whatever the order of the texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from llm_core.compiled import compiled, inlined
from llm_core.errors import LlmCoreError

_OTHER, _LETTER, _NUMBER, _SPACE, _NEWLINE = 0, 1, 2, 3, 4
#: Letters, numbers and spaces are in the Unicode planes 0 to 3; the test asks the library about all the rest.
_LAST_PLANE = 0x40000
_BATCH_BYTES = 4_000_000
_PIECES_AT_A_TIME = 1 << 16
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ALL_COUNTED, _TABLE_FULL, _BYTES_FULL = 0, 1, 2


@cache
def character_classes() -> np.ndarray:
    """(0x110000,) uint8: for each code point whether the library's regular expressions take it for a letter, a number,
    a space or a line end."""
    from tokenizers import Regex, pre_tokenizers

    codes = np.array([code for code in range(_LAST_PLANE) if not 0xD800 <= code <= 0xDFFF])
    text = "".join(map(chr, codes.tolist()))
    classes = np.zeros(0x110000, np.uint8)
    for pattern, number in ((r"\p{L}+", _LETTER), (r"\p{N}+", _NUMBER), (r"\s+", _SPACE)):
        matched = np.ones(len(codes), bool)
        for _, (start, end) in pre_tokenizers.Split(Regex(pattern), behavior="removed").pre_tokenize_str(text):
            matched[start:end] = False
        classes[codes[matched]] = number
    classes[[ord("\r"), ord("\n")]] = _NEWLINE
    return classes


@inlined
def _character(data, at):  # type: ignore[no-untyped-def]
    """(code point, bytes) of the character at ``at``; the text is valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    second = np.int64(data[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(data[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (np.int64(data[at + 3]) & 0x3F), 4


@inlined
def _contraction_end(data, at, end):  # type: ignore[no-untyped-def]
    """Where the English contraction ends whose apostrophe is before ``at``; ``at`` where there is none."""
    first = data[at] | 0x20 if at < end else 0  # small letters; what isn't a letter doesn't become one of these
    second = data[at + 1] | 0x20 if at + 1 < end else 0
    long_s = at + 1 < end and data[at] == 0xC5 and data[at + 1] == 0xBF  # an s, where case doesn't matter
    re_or_ve = second == ord("e") and (first == ord("r") or first == ord("v"))
    if first == ord("s") or first == ord("t") or first == ord("m") or first == ord("d"):
        at += 1
    elif re_or_ve or long_s or (first == ord("l") and second == ord("l")):
        at += 2
    return at


@inlined
def _piece_end(data, at, end, classes, most_digits):  # type: ignore[no-untyped-def]
    """Where the piece that begins at ``at`` ends: the alternatives of the pattern in their order."""
    code, size = _character(data, at)
    kind = classes[code]
    after = at + size
    if code == ord("'"):
        contraction = _contraction_end(data, after, end)
        if contraction > after:
            return contraction
    if kind == _NUMBER:
        for _ in range(most_digits - 1):
            if after == end:
                break
            code, size = _character(data, after)
            if classes[code] != _NUMBER:
                break
            after += size
        return after
    run = kind  # what the piece goes on with: letters or signs, else spaces
    if kind != _LETTER and after < end:
        next_code, next_size = _character(data, after)
        next_kind = classes[next_code]
        if (next_kind == _LETTER and kind != _NEWLINE) or (next_kind == _OTHER and code == ord(" ")):
            run = next_kind
            after += next_size
    if run != _SPACE and run != _NEWLINE:
        while after < end:
            code, size = _character(data, after)
            if classes[code] != run:
                break
            after += size
        if run == _OTHER:
            while after < end and (data[after] == ord("\r") or data[after] == ord("\n")):
                after += 1
        return after
    last, after_newline = at, -1
    while True:
        if kind == _NEWLINE:
            after_newline = after
        if after == end:
            break
        code, size = _character(data, after)
        kind = classes[code]
        if kind != _SPACE and kind != _NEWLINE:
            break
        last = after
        after += size
    if after_newline >= 0:
        return after_newline  # all spaces up to the last line end
    if after == end or last == at:
        return after
    return last  # the last space goes with what follows


@compiled
def _find(data, text_ends, text, at, classes, most_digits, ends):  # type: ignore[no-untyped-def]
    """Fill ``ends`` with where the pieces end, from byte ``at`` of text number ``text`` on.

    Returns ``(pieces found, text, at)``: where to go on.
    """
    n = 0
    while text < len(text_ends):
        end = text_ends[text]
        while at < end:
            if n == len(ends):
                return n, text, at
            at = _piece_end(data, at, end, classes, most_digits)
            ends[n] = at
            n += 1
        text += 1
    return n, text, at


@compiled
def _count(data, at, ends, done, slots, hashes, starts, counts, missed, content, n, floor):  # type: ignore[no-untyped-def]
    """Count the pieces that end at ``ends[done:]``, the first of which begins at ``at``.

    Returns ``(why it ended, at, done, distinct pieces)``; where a table is full, call it again with a larger one.
    """
    mask = np.uint64(len(slots) - 1)
    while done < len(ends):
        stop = ends[done]
        h = np.uint64(stop - at)
        for i in range(at, stop):
            h = (h ^ np.uint64(data[i])) * _PRIME
        h ^= h >> _SHIFT
        slot = h & mask
        piece = slots[slot]
        while piece >= 0:
            if hashes[piece] == h and starts[piece + 1] - starts[piece] == stop - at:
                where, same = starts[piece] - at, True
                for i in range(at, stop):
                    if content[where + i] != data[i]:
                        same = False
                        break
                if same:
                    break
            slot = (slot + np.uint64(1)) & mask
            piece = slots[slot]
        if piece < 0:
            if n == len(counts):
                return _TABLE_FULL, at, done, n
            if starts[n] + stop - at > len(content):
                return _BYTES_FULL, at, done, n
            piece = n
            slots[slot] = piece
            hashes[piece] = h
            for i in range(at, stop):
                content[starts[n] - at + i] = data[i]
            starts[n + 1] = starts[n] + stop - at
            counts[piece] = 0
            missed[piece] = floor
            n += 1
        counts[piece] += 1
        at = stop
        done += 1
    return _ALL_COUNTED, at, done, n


@compiled
def _fill_slots(slots, hashes, n):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for piece in range(n):
        slot = hashes[piece] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = piece


@compiled
def _keep(kept, hashes, starts, counts, missed, content):  # type: ignore[no-untyped-def]
    """Move the pieces ``kept`` (their numbers, ascending) to the front; returns how many they are."""
    used = 0
    for new, old in enumerate(kept):
        size = starts[old + 1] - starts[old]
        for i in range(size):
            content[used + i] = content[starts[old] + i]
        hashes[new], counts[new], missed[new] = hashes[old], counts[old], missed[old]
        starts[new] = used  # new <= old: nothing that is still needed is overwritten
        used += size
    starts[len(kept)] = used
    return len(kept)


class PieceCounts:
    """How often each piece occurs. Memory: some 35 bytes a distinct piece and its text."""

    def __init__(self, most_distinct: int, split_digits: bool) -> None:
        self.most_distinct = most_distinct
        self.total = 0
        """Pieces in all, each as often as it occurred."""
        self.let_go = 0
        """Distinct pieces that had to go, to stay within the bound."""
        self.most_missed = 0
        """No count is short by more than this; 0: all counts are exact."""
        self._most_digits = 1 if split_digits else 3
        self._classes = character_classes()
        self._n = 0
        capacity = min(most_distinct, 1 << 16)
        self._hashes = np.empty(capacity, np.uint64)
        self._starts = np.zeros(capacity + 1, np.int64)
        self._counts = np.empty(capacity, np.int64)
        self._missed = np.empty(capacity, np.int64)
        self._content = np.empty(16 * capacity, np.uint8)
        self._slots = self._new_slots()

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """(piece, count) in the order in which they were first met."""
        for number in range(self._n):
            yield self._content[self._starts[number] : self._starts[number + 1]].tobytes(), int(self._counts[number])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``content`` (bytes of all pieces, one after the other), ``starts`` (pieces + 1) and ``counts`` (pieces)."""
        starts = self._starts[: self._n + 1]
        return self._content[: starts[-1]], starts, self._counts[: self._n]

    def add(self, texts: Sequence[str] | pa.LargeStringArray) -> None:
        """Count the pieces of ``texts`` (none of them null). No piece reaches from one text into the next.

        Raises:
            LlmCoreError: a text holds half of a character.
        """
        data, offsets = utf8(texts)
        for begin, ends in _pieces(data, offsets, self._classes, self._most_digits):
            self._count(data, begin, ends)

    def _count(self, data: np.ndarray, at: int, ends: np.ndarray) -> None:
        self.total += len(ends)
        done = 0
        while True:
            why, at, done, self._n = _count(
                data, at, ends, done, self._slots, self._hashes, self._starts, self._counts, self._missed,
                self._content, self._n, self.most_missed,
            )  # fmt: skip
            if why == _ALL_COUNTED:
                return
            if why == _BYTES_FULL:
                size = len(self._content)
                self._content = _larger(self._content, max(2 * size, size + int(ends[done]) - at))
            elif len(self._counts) < self.most_distinct:
                self._grow(min(self.most_distinct, 2 * len(self._counts)))
            else:
                self._let_the_rarest_go()

    def _grow(self, capacity: int) -> None:
        self._hashes, self._counts = _larger(self._hashes, capacity), _larger(self._counts, capacity)
        self._missed, self._starts = _larger(self._missed, capacity), _larger(self._starts, capacity + 1)
        self._slots = self._new_slots()

    def _let_the_rarest_go(self) -> None:
        at_most = self._counts[: self._n] + self._missed[: self._n]  # how often each can have occurred
        self.most_missed = int(np.partition(at_most, self._n // 2)[self._n // 2])
        kept = np.flatnonzero(at_most > self.most_missed)
        self.let_go += self._n - len(kept)
        self._n = _keep(kept, self._hashes, self._starts, self._counts, self._missed, self._content)
        self._slots = self._new_slots()

    def _new_slots(self) -> np.ndarray:
        slots = np.full(1 << int(2 * len(self._counts) - 1).bit_length(), -1, np.int32)
        _fill_slots(slots, self._hashes, self._n)
        return slots


def _larger(array: np.ndarray, size: int) -> np.ndarray:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger


def utf8(texts: Sequence[str] | pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes of all texts, one after the other, and (texts + 1,) where each begins and the last one ends.

    Raises:
        LlmCoreError: a text holds half of a character.
    """
    try:
        array = texts if isinstance(texts, pa.LargeStringArray) else pa.array(texts, pa.large_string())
    except UnicodeEncodeError as error:
        raise LlmCoreError(
            "a text holds half of a character (a lone UTF-16 surrogate) and can't be encoded.",
            fix="Read the input as UTF-8.",
        ) from error
    _, offsets, content = array.buffers()
    if not len(array) or content is None:
        return np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    return np.frombuffer(content, np.uint8), np.frombuffer(offsets, np.int64)[array.offset :][: len(array) + 1]


def count_pieces(texts: Iterable[str], most_distinct: int, split_digits: bool) -> PieceCounts:
    """Count the pieces of all ``texts``, some megabytes of them in memory at a time."""
    counts = PieceCounts(most_distinct, split_digits)
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_BYTES:
            counts.add(batch)
            batch, size = [], 0
    counts.add(batch)
    return counts


def cut(text: str, split_digits: bool) -> list[str]:
    """``text`` as its pieces."""
    data, offsets = utf8([text])
    found: list[str] = []
    for at, ends in _pieces(data, offsets, character_classes(), 1 if split_digits else 3):
        for end in ends.tolist():
            found.append(data[at:end].tobytes().decode())
            at = end
    return found


def _pieces(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, most_digits: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Where the pieces end, some at a time: the first of them begins at the number given, each next where one ends."""
    text, at = 0, int(offsets[0])
    buffer = np.empty(_PIECES_AT_A_TIME, np.int64)
    while text < len(offsets) - 1:
        begin = at
        n, text, at = _find(data, offsets[1:], text, at, classes, most_digits, buffer)
        yield begin, buffer[:n]
