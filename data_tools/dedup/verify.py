"""Which candidates are really copies, and which document stays for them.

MinHash candidates joined by transitive closure delete unrelated books: A meets B in one band, B meets C in another,
and A and C go down as one. Here a document is removed only for one named representative that stays itself, that it met
in a band, and whose exact shingle similarity with it was computed.

The documents of a component are gone through in keep order (`data_tools.dedup.keep`); one that no representative so
far accounts for becomes one. So nobody is removed for a document that goes itself, and the outcome hangs on nothing
but the documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit, uint64

from data_tools.kernels.minhash import shared_values

#: Representatives whose signatures are compared with one document's, at least. A hundred thousand letters from one
#: template all meet in a band; without a bound each would be compared with each. Those in its smallest buckets go
#: first, and in a bucket those that come next to it in keep order.
ESTIMATES = 1_024

#: A document with fewer shingles outside of templates says nothing of its own.
LEAST_OWN = 10
# Shingles are counted in a table of hashed places, twice as many as shingles where that isn't too much memory.
_MOST_PLACES_BITS = 28
_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Candidates:
    """Documents of one or more whole components, in keep order.

    Attributes:
        buckets: (documents, bands) int64. Numbers from 0; equal ones mean a band in common.
        signatures: (documents, permutations) uint32.
        shingles: uint64; those of document i, sorted and distinct, are ``shingles[starts[i]:ends[i]]``.
        starts, ends: (documents,) int64.
        components: (documents,) int64. Equal for those of one component.
    """

    buckets: npt.NDArray[np.int64]
    signatures: npt.NDArray[np.uint32]
    shingles: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    components: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Verdicts:
    """For each of the `Candidates`: whose copy it is (-1: it stays), by MinHash's estimate and in truth; and how many
    pairs were compared exactly."""

    representatives: npt.NDArray[np.int64]
    estimated: npt.NDArray[np.float64]
    exact: npt.NDArray[np.float64]
    comparisons: int


def number_buckets(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """(documents, bands) band keys as numbers from 0, equal exactly where the same band has the same key. They are
    written over the keys."""
    buckets = keys.view(np.int64)
    first = 0
    for band in range(keys.shape[1]):
        distinct, numbers = np.unique(keys[:, band], return_inverse=True)
        buckets[:, band] = first + numbers
        first += len(distinct)
    return buckets


def verify(candidates: Candidates, *, min_similarity: float, max_comparisons: int, template_documents: int) -> Verdicts:
    """Compare each document with the representatives that it met, best estimate first, ``max_comparisons`` at most; it
    is a copy of the first one that is similar enough.

    Args:
        template_documents: representatives of a component from which on a shingle that they share is a template's; 0
            for no such distinction.
    """
    documents = len(candidates.starts)
    verdicts = Verdicts(np.full(documents, -1, dtype=np.int64), np.zeros(documents), np.zeros(documents), comparisons=0)
    if not documents:
        return verdicts
    comparisons = _verify(
        candidates.buckets,
        int(candidates.buckets.max()) + 1 if candidates.buckets.size else 0,
        candidates.signatures,
        candidates.shingles,
        candidates.starts,
        candidates.ends,
        candidates.components,
        min_similarity,
        max_comparisons,
        max(ESTIMATES, max_comparisons),
        template_documents,
        min(_MOST_PLACES_BITS, max(10, len(candidates.shingles).bit_length() + 1)),
        verdicts.representatives,
        verdicts.estimated,
        verdicts.exact,
    )
    return Verdicts(verdicts.representatives, verdicts.estimated, verdicts.exact, int(comparisons))


@njit(cache=True, nogil=True)
def _met(document, buckets, heads, following, sizes, lengths, similarity, seen, pool):  # type: ignore[no-untyped-def]
    """Fill ``pool`` with representatives that share a bucket with ``document`` and are not too long or short to be
    similar enough; how many. Buckets are linked lists, the latest representative first."""
    bands = buckets.shape[1]
    order = np.arange(bands)
    for i in range(1, bands):  # the smallest bucket first; np.argsort would take seconds to compile
        j = i
        while j and sizes[buckets[document, order[j]]] < sizes[buckets[document, order[j - 1]]]:
            order[j], order[j - 1] = order[j - 1], order[j]
            j -= 1
    found = visits = 0
    for band in order:
        representative = heads[buckets[document, band]]
        while representative >= 0:
            if found == len(pool) or visits == 4 * len(pool):
                return found
            visits += 1
            if seen[representative] != document:
                seen[representative] = document
                a, b = lengths[document], lengths[representative]
                # The shared ones are at most all of the smaller set, and the union at least the larger.
                if min(a, b) / max(a, b) >= similarity:
                    pool[found] = representative
                    found += 1
            representative = following[representative, band]
    return found


@njit
def _agreeing(one, other):  # type: ignore[no-untyped-def]
    """In how many values two signatures agree."""
    equal = 0
    for k in range(len(one)):
        equal += one[k] == other[k]
    return equal


@njit
def _best(agreeing, pool, found):  # type: ignore[no-untyped-def]
    """Which of those in the pool agrees in most values; among equals the first in keep order."""
    best = 0
    for i in range(1, found):
        if agreeing[i] > agreeing[best] or (agreeing[i] == agreeing[best] and pool[i] < pool[best]):
            best = i
    return best


@njit(inline="always")
def _place(shingle, component, bits):  # type: ignore[no-untyped-def]
    return ((shingle ^ (uint64(component) * _A)) * _B) >> uint64(64 - bits)


@njit(cache=True, nogil=True)
def _alike_without_templates(  # type: ignore[no-untyped-def]
    a, b, component, counts, bits, template_documents, min_similarity
):
    """Whether document ``a`` (its shingles) may go for ``b``, as far as templates are concerned."""
    own_a = own_b = shared = i = j = 0
    while i < len(a) or j < len(b):
        in_a = i < len(a) and (j == len(b) or a[i] <= b[j])
        in_b = j < len(b) and (i == len(a) or b[j] <= a[i])
        value = a[i] if in_a else b[j]
        if counts[_place(value, component, bits)] < template_documents:
            own_a += in_a
            own_b += in_b
            shared += in_a and in_b
        i += in_a
        j += in_b
    return own_a < LEAST_OWN or shared / (own_a + own_b - shared) >= min_similarity


@njit(cache=True, nogil=True)
def _verify(  # type: ignore[no-untyped-def]
    buckets,
    bucket_count,
    signatures,
    shingles,
    starts,
    ends,
    components,
    min_similarity,
    max_comparisons,
    estimates,
    template_documents,
    bits,
    representatives,
    estimated,
    exact,
):
    """See `verify`; the last three arrays are written. ``2 ** bits`` places count shingles. Returns how many pairs were
    compared."""
    documents, bands = buckets.shape
    permutations = signatures.shape[1]
    lengths = ends - starts
    heads = np.full(bucket_count, -1, dtype=np.int64)
    sizes = np.zeros(bucket_count, dtype=np.int64)
    following = np.empty((documents, bands), dtype=np.int32)
    seen = np.full(documents, -1, dtype=np.int64)
    pool = np.empty(estimates, dtype=np.int64)
    agreeing = np.empty(estimates, dtype=np.int64)
    counts = np.zeros(1 << bits if template_documents else 1, dtype=np.uint8)  # representatives that have a shingle
    comparisons = 0
    for document in range(documents):
        ours = shingles[starts[document] : ends[document]]
        component = components[document]
        found = _met(document, buckets, heads, following, sizes, lengths, min_similarity, seen, pool)
        for i in range(found):
            agreeing[i] = _agreeing(signatures[document], signatures[pool[i]])
        for _ in range(min(found, max_comparisons)):
            best = _best(agreeing, pool, found)
            other = pool[best]
            theirs = shingles[starts[other] : ends[other]]
            shared = shared_values(ours, theirs)
            comparisons += 1
            similarity = shared / (lengths[document] + lengths[other] - shared)
            if similarity >= min_similarity and (
                template_documents == 0
                or _alike_without_templates(ours, theirs, component, counts, bits, template_documents, min_similarity)
            ):
                representatives[document] = other
                estimated[document] = agreeing[best] / permutations
                exact[document] = similarity
                break
            agreeing[best] = -1  # was compared
        if representatives[document] < 0:
            for band in range(bands):
                bucket = buckets[document, band]
                following[document, band] = heads[bucket]
                heads[bucket] = document
                sizes[bucket] += 1
            if template_documents:
                for shingle in ours:
                    place = _place(shingle, component, bits)
                    if counts[place] < 255:
                        counts[place] += 1
    return comparisons
