"""The n-grams of evaluation sets, and looking for them in documents."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from data_tools.atomic_file import atomic_writer
from data_tools.config import DecontaminateConfig
from data_tools.dedup.shingles import read_only
from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.characters import character_flags, lower_case
from data_tools.kernels.ngrams import MULTIPLIER, locate, texts_with_ngrams, words_of
from data_tools.kernels.words import BLOCK

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

#: Shorter examples than this are passed over: a few words stand anywhere ("A solar eclipse occurs when" begins many a
#: page). GPT-3's n-grams have 8 words at least, too.
SHORTEST_EXAMPLE = 8
# Bits of the table for each key: 6 % of the n-grams that aren't sought pass it.
_BITS_A_KEY = 16


@dataclass(frozen=True)
class SoughtNgrams:
    """All that is looked for. An n-gram is a run of the examples' words; ids are positions in these arrays.

    The first ``whole`` ids are n-grams of ``ngram_words`` words. The others are short examples as a whole, found by
    their last ``SHORTEST_EXAMPLE`` words.
    """

    text: npt.NDArray[np.uint8]  # (bytes,) of all examples
    starts: Ints  # (words,) first byte of each word
    ends: Ints
    keys: Hashes  # (n-grams,) hash of the words that it is found by; sorted within both kinds
    firsts: Ints  # (n-grams,) its first word
    lengths: Ints  # (n-grams,) its words
    full: Hashes  # (n-grams,) hash of all of them
    owner_offsets: Ints  # (n-grams + 1,): n-gram i is in the examples owners[owner_offsets[i]:owner_offsets[i + 1]]
    owners: Ints
    per_example: Ints  # (examples,) distinct n-grams; 0 where an example is too short to be looked for
    whole: Ints  # ()
    ngram_words: Ints  # ()

    def save(self, folder: Path) -> Path:
        """Write it to a file that is named by its content, for :func:`load_ngrams`."""
        packed = io.BytesIO()
        np.savez(packed, **vars(self))
        path = folder / f"ngrams-{xxhash.xxh3_128_hexdigest(packed.getbuffer())}.npz"
        with atomic_writer(path) as handle:
            handle.write(packed.getbuffer())
        return path

    def examples_of(self, ngram: int) -> Ints:
        return self.owners[self.owner_offsets[ngram] : self.owner_offsets[ngram + 1]]


@lru_cache(maxsize=1)
def load_ngrams(path: Path) -> SoughtNgrams:
    """What :meth:`SoughtNgrams.save` wrote, read once in each process (its name stands for its content)."""
    with np.load(path, allow_pickle=False) as arrays:
        return SoughtNgrams(**{name: arrays[name] for name in arrays.files})


def ngrams_of(texts: Sequence[str], config: DecontaminateConfig) -> SoughtNgrams:
    """The n-grams of the examples' ``texts``."""
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    hashes, starts, ends, word_offsets = _words(data, offsets)
    n = config.ngram_words
    counts = np.diff(word_offsets)
    example_of_word = np.repeat(np.arange(len(texts)), counts)
    left = np.repeat(word_offsets[1:], counts) - np.arange(len(hashes))  # words from here to the example's end
    firsts = np.flatnonzero(left >= n)
    keys, firsts, owned = _distinct(_rolled(hashes, firsts, n), firsts, example_of_word[firsts])
    lengths = np.full(len(keys), n)
    whole, full = len(keys), keys
    if config.short_examples == "whole" and n > SHORTEST_EXAMPLE:
        short_keys, short_firsts, short_lengths, short_full, short_examples = [], [], [], [], []
        for length in range(SHORTEST_EXAMPLE, n):
            at = word_offsets[:-1][counts == length]
            _, distinct, examples = _distinct(_rolled(hashes, at, length), at, example_of_word[at])
            short_keys.append(_rolled(hashes, distinct + length - SHORTEST_EXAMPLE, SHORTEST_EXAMPLE))
            short_full.append(_rolled(hashes, distinct, length))
            short_firsts.append(distinct)
            short_lengths.append(np.full(len(distinct), length))
            short_examples += examples
        joined = np.concatenate(short_keys)
        order = np.argsort(joined, kind="stable")
        keys = np.concatenate([keys, joined[order]])
        firsts = np.concatenate([firsts, np.concatenate(short_firsts)[order]])
        lengths = np.concatenate([lengths, np.concatenate(short_lengths)[order]])
        full = np.concatenate([full, np.concatenate(short_full)[order]])
        owned += [short_examples[position] for position in order.tolist()]
    owners = np.concatenate([np.zeros(0, dtype=np.int64), *owned])
    return SoughtNgrams(
        text=data,
        starts=starts,
        ends=ends,
        keys=keys,
        firsts=firsts,
        lengths=lengths,
        full=full,
        owner_offsets=np.cumsum([0, *map(len, owned)]),
        owners=owners,
        per_example=np.bincount(owners, minlength=len(texts)),
        whole=np.array(whole),
        ngram_words=np.array(n),
    )


def _words(data: npt.NDArray[np.uint8], offsets: Ints) -> tuple[Hashes, Ints, Ints, Ints]:
    """Hashes, first bytes and ends of all words, and where each text's words begin: (texts + 1,)."""
    parts = [_words_of_one(data, int(start), int(end)) for start, end in pairwise(offsets)]
    hashes, starts, ends = (
        np.concatenate([np.zeros(0, kind), *(part[index] for part in parts)])
        for index, kind in enumerate((np.uint64, np.int64, np.int64))
    )
    return hashes, starts, ends, np.cumsum([0, *(len(part[0]) for part in parts)])


def _words_of_one(data: npt.NDArray[np.uint8], start: int, end: int) -> tuple[Hashes, Ints, Ints]:
    places = (end - start) // 2 + 2 * BLOCK
    hashes = np.empty(places, dtype=np.uint64)
    starts, ends = np.empty(places, dtype=np.int64), np.empty(places, dtype=np.int64)
    count = words_of(read_only(data), start, end, character_flags(), lower_case(), hashes, starts, ends)
    return hashes[:count], starts[:count], ends[:count]


def _rolled(hashes: Hashes, firsts: Ints, words: int) -> Hashes:
    """The hash of the ``words`` words from each of ``firsts`` on."""
    rolled = np.zeros(len(firsts), dtype=np.uint64)
    for i in range(words):
        rolled = rolled * MULTIPLIER + hashes[firsts + i]
    return rolled


def _distinct(keys: Hashes, firsts: Ints, examples: Ints) -> tuple[Hashes, Ints, list[Ints]]:
    """Sorted distinct keys, the first place where each stands, and the examples that it stands in."""
    distinct, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    count = int(examples.max(initial=0)) + 1
    pairs = np.unique(inverse.reshape(-1) * count + examples)  # each pair as one number, which sorts faster
    bounds = np.searchsorted(pairs, np.arange(len(distinct) + 1) * count)
    owners = pairs % count
    return distinct, firsts[index], [owners[a:b] for a, b in pairwise(bounds)]


def _bit_table(keys: Hashes) -> tuple[Hashes, np.uint64]:
    """A table of 2^k bits in which bit ``key >> shift`` is set for each key, as uint64, and the shift, 64 - k."""
    size = max(12, (len(keys) * _BITS_A_KEY).bit_length())
    shift = np.uint64(64 - size)
    bits = np.zeros(2 ** (size - 6), dtype=np.uint64)
    places = keys >> shift
    np.bitwise_or.at(bits, (places >> np.uint64(6)).astype(np.int64), np.uint64(1) << (places & np.uint64(63)))
    return bits, shift


class Finder:
    """Looks for n-grams in columns of texts."""

    def __init__(self, sought: SoughtNgrams) -> None:
        self.sought = sought
        whole = int(sought.whole)
        # Which n-grams, and how many words the hash is of that they are found by.
        kinds = [(slice(0, whole), int(sought.ngram_words)), (slice(whole, len(sought.keys)), SHORTEST_EXAMPLE)]
        self._kinds = [(part, window) for part, window in kinds if part.start < part.stop]
        self._bit_tables = [_bit_table(sought.keys[part]) for part, _ in self._kinds]

    def find(self, column: pa.ChunkedArray) -> Ints:
        """(found, 4) int64: text, n-gram, first byte and byte behind it in that text. By text, then place."""
        data, offsets = text_buffers(column)
        met = np.zeros(len(offsets) - 1, dtype=np.bool_)
        for (part, window), (bits, shift) in zip(self._kinds, self._bit_tables, strict=True):
            texts_with_ngrams(
                read_only(data),
                read_only(offsets),
                character_flags(),
                lower_case(),
                int(self.sought.lengths[part].max()),
                window,
                bits,
                shift,
                self.sought.keys[part],
                self.sought.lengths[part],
                self.sought.full[part],
                met,
            )
        found = [
            self._find_in(data, int(offsets[text]), int(offsets[text + 1]), text)
            for text in np.flatnonzero(met).tolist()
        ]
        return np.concatenate([np.zeros((0, 4), dtype=np.int64), *found])

    def _find_in(self, data: npt.NDArray[np.uint8], start: int, end: int, text: int) -> Ints:
        words = _words_of_one(data, start, end)
        found = [self._locate(data, words, part, window) for part, window in self._kinds]
        joined = np.concatenate(found)
        joined[:, 1:] -= start
        joined = joined[np.lexsort((joined[:, 0], joined[:, 1]))]
        return np.concatenate([np.full((len(joined), 1), text), joined], axis=1)

    def _locate(self, data: npt.NDArray[np.uint8], words: tuple[Any, Any, Any], part: slice, window: int) -> Ints:
        sought = self.sought
        places = 1024
        while True:
            found = np.empty((places, 3), dtype=np.int64)
            count = locate(
                read_only(data),
                *words,
                lower_case(),
                window,
                sought.keys[part],
                sought.firsts[part],
                sought.lengths[part],
                read_only(sought.text),
                sought.starts,
                sought.ends,
                found,
            )
            if count <= places:
                found = found[:count]
                found[:, 0] += part.start
                return found
            places = count
