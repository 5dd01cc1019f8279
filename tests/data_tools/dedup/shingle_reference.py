"""What shingles are, in plain Python: slow, and legible enough to be checked by eye."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from datasketch import MinHash

from data_tools.kernels.characters import UNSEGMENTED, character_flags

_MASK = 2**64 - 1


def words(text: str) -> list[str]:
    """Lower-cased words; each character of a script without blanks is one."""
    flags = character_flags()
    found: list[str] = []
    alone = False  # the last word is a character of a script without blanks
    inside = False
    for character in text:
        is_word = character.isalnum() or character == "_"
        if is_word and flags[ord(character)] & UNSEGMENTED:
            found.append(character)
            inside = alone = True
        elif is_word:
            if inside and not alone:
                found[-1] += character
            else:
                found.append(character)
            inside, alone = True, False
        elif inside and unicodedata.category(character)[0] == "M":
            found[-1] += character
        else:
            inside = False
    return ["".join(character.lower()[0] for character in word) for word in found]


def hash_of_word(word: str) -> int:
    encoded = word.replace("_", "\x7f").encode()
    h = 0
    for start in range(0, len(encoded), 8):
        h = (h ^ int.from_bytes(encoded[start : start + 8], "little")) * 0x9E3779B97F4A7C15 & _MASK
        h ^= h >> 32
    h = h * 0xD6E8FEB86659FD93 & _MASK
    return h ^ h >> 29


def shingles(text: str, size: int) -> list[int]:
    """In the order of the text, repeated ones included."""
    hashes = [hash_of_word(word) for word in words(text)]
    size = min(size, len(hashes))
    if not size:
        return []
    result = []
    for start in range(len(hashes) - size + 1):
        h = 0
        for value in hashes[start : start + size]:
            h = (h * 0x9E3779B97F4A7C15 + value) & _MASK
        result.append(h)
    return result


def signatures_of_sets(sets: Sequence[Iterable[int]], permutations: int, seed: int) -> npt.NDArray[np.uint32]:
    """(sets, permutations): datasketch's own signatures of sets of 64-bit shingle hashes."""
    result = np.empty((len(sets), permutations), dtype=np.uint32)
    for row, shingle_hashes in enumerate(sets):
        sketch = MinHash(num_perm=permutations, seed=seed, scheme="affine32", hashfunc=int)
        sketch.update_batch([int(shingle) >> 32 for shingle in shingle_hashes])
        result[row] = sketch.hashvalues
    return result
