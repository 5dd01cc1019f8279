"""The merges of byte pair encoding from counted pieces, each step touching only the pieces that it changes.

The result is that of :func:`llm_core.tokenizer.bpe_reference.train_bpe`. Instead of counting all pairs anew for each
merge, it keeps for each pair its count and a list of the pieces that hold it, and takes the most frequent pair from a
heap. A merge walks its own list, writes the merged pieces shorter in place, and corrects the counts of the neighbours.

Two facts keep it simple. After the merge of (a, b), the two never stand side by side again, and no two pairs merge to
the same bytes: the merges inside a token are those that its bytes would see by themselves, so that it comes about in
one way only. Therefore a pair is only ever gained in the step that makes the younger of its two tokens; later its count
can only fall. An entry of the heap is then never too small, and one that is too large is put back corrected.
"""

from __future__ import annotations

import numpy as np

from llm_core.compiled import compiled, inlined

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)  # no pair: its tokens would be far too many
_COUNT, _FIRST = 0, 1  # columns of the pairs
_PIECE, _NEXT = 0, 1  # columns of the entries of their lists


@inlined
def _goes_first(count, key, other_count, other_key):  # type: ignore[no-untyped-def]
    """Whether a pair is merged before another: the more frequent, then the one whose tokens are older."""
    return count > other_count or (count == other_count and key < other_key)


@compiled
def _sift_down(heap, heap_counts, n, keys):  # type: ignore[no-untyped-def]
    """Move the first entry of the heap down to its place."""
    pair, count = heap[0], heap_counts[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and _goes_first(
            heap_counts[child + 1], keys[heap[child + 1]], heap_counts[child], keys[heap[child]]
        ):
            child += 1
        if not _goes_first(heap_counts[child], keys[heap[child]], count, keys[pair]):
            break
        heap[at], heap_counts[at] = heap[child], heap_counts[child]
        at = child
    heap[at], heap_counts[at] = pair, count


@compiled
def _sift_up(heap, heap_counts, at, keys):  # type: ignore[no-untyped-def]
    """Move the entry at ``at`` up to its place."""
    pair, count = heap[at], heap_counts[at]
    while at:
        parent = (at - 1) // 2
        if not _goes_first(count, keys[pair], heap_counts[parent], keys[heap[parent]]):
            break
        heap[at], heap_counts[at] = heap[parent], heap_counts[parent]
        at = parent
    heap[at], heap_counts[at] = pair, count


@inlined
def _slot_of(slots, key):  # type: ignore[no-untyped-def]
    """Where ``key`` is in the hash table, or the free place that it would take."""
    mask = np.uint64(len(slots) - 1)
    h = key * _MIX
    slot = (h ^ (h >> _HALF)) & mask
    while slots[slot, 0] != key and slots[slot, 0] != _FREE:
        slot = (slot + _ONE) & mask
    return slot


@compiled
def _more_slots(keys, n, size):  # type: ignore[no-untyped-def]
    """A hash table with ``size`` places that holds the first ``n`` keys."""
    slots = np.empty((size, 2), np.uint64)
    slots[:, 0] = _FREE
    for pair in range(n):
        slot = _slot_of(slots, keys[pair])
        slots[slot, 0], slots[slot, 1] = keys[pair], pair
    return slots


@compiled
def _longer(array, size):  # type: ignore[no-untyped-def]
    longer = np.empty(size, array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def _more_rows(array, size):  # type: ignore[no-untyped-def]
    longer = np.empty((size, 2), array.dtype)
    longer[: len(array)] = array
    return longer


@compiled
def learn(symbols, starts, counts, most, min_frequency):  # type: ignore[no-untyped-def]
    """Learn up to ``most`` merges.

    Args:
        symbols: int32, the first tokens (0 to 255) of all pieces, one piece after the other; it is overwritten.
        starts: (pieces + 1,) int64, where each piece begins.
        counts: (pieces,) int64, how often it occurs.
        min_frequency: stop where the best pair is rarer than this, at least 1.

    Returns:
        (merges, 2) int32: the pairs in the order learned; the n-th makes token 256 + n.
    """
    n_pieces = len(counts)
    ends = starts[1:].copy()
    # Pairs: their key (left, right), their count with their list's first entry, and a hash table that finds them. What
    # is looked up together lies together, because most of the time goes into waiting for memory.
    n_pairs = 0
    keys = np.empty(1 << 17, np.uint64)
    pairs = np.empty((1 << 17, 2), np.int64)
    slots = _more_slots(keys, 0, 1 << 18)
    # Entries of all lists: a piece, and the next entry. Those of a merged pair are used again.
    entries = np.empty((max(len(symbols), 1), 2), np.int32)
    n_entries, free_entry = 0, np.int64(-1)

    for piece in range(n_pieces):
        for i in range(starts[piece], ends[piece] - 1):
            key = np.uint64(symbols[i]) << _HALF | np.uint64(symbols[i + 1])
            slot = _slot_of(slots, key)
            if slots[slot, 0] == _FREE:  # at most 65,536 times
                slots[slot, 0], slots[slot, 1] = key, n_pairs
                keys[n_pairs], pairs[n_pairs, _COUNT], pairs[n_pairs, _FIRST] = key, 0, -1
                n_pairs += 1
            pair = slots[slot, 1]
            pairs[pair, _COUNT] += counts[piece]
            first = pairs[pair, _FIRST]
            if first < 0 or entries[first, _PIECE] != piece:
                entries[n_entries, _PIECE], entries[n_entries, _NEXT] = piece, first
                pairs[pair, _FIRST] = n_entries
                n_entries += 1

    heap = np.empty(len(keys), np.int32)
    heap_counts = np.empty(len(keys), np.int64)
    in_heap = 0
    for pair in range(n_pairs):
        if pairs[pair, _COUNT] >= min_frequency:
            heap[in_heap], heap_counts[in_heap] = pair, pairs[pair, _COUNT]
            _sift_up(heap, heap_counts, in_heap, keys)
            in_heap += 1

    merges = np.empty((most, 2), np.int32)
    learned = 0
    gained = np.empty(4, np.int32)
    while learned < most and in_heap:
        best = heap[0]
        if heap_counts[0] != pairs[best, _COUNT]:  # it lost some to other merges since it was put there
            if pairs[best, _COUNT] >= min_frequency:
                heap_counts[0] = pairs[best, _COUNT]
            else:
                in_heap -= 1
                heap[0], heap_counts[0] = heap[in_heap], heap_counts[in_heap]
            _sift_down(heap, heap_counts, in_heap, keys)
            continue
        in_heap -= 1
        heap[0], heap_counts[0] = heap[in_heap], heap_counts[in_heap]
        _sift_down(heap, heap_counts, in_heap, keys)

        left, right = np.int32(keys[best] >> _HALF), np.int32(keys[best] & np.uint64(0xFFFFFFFF))
        token = np.int32(256 + learned)
        merges[learned, 0], merges[learned, 1] = left, right
        learned += 1
        old_pairs = n_pairs
        entry = pairs[best, _FIRST]
        while entry >= 0:
            piece, following = entries[entry, _PIECE], np.int64(entries[entry, _NEXT])
            entries[entry, _NEXT], free_entry = free_entry, entry
            entry = following
            start, end, count = starts[piece], ends[piece], counts[piece]
            # Room for all that this piece can add: two pairs a merge, of which it holds at most half its length.
            most_new = end - start + 1
            if n_pairs + most_new > len(keys):
                size = max(2 * len(keys), n_pairs + most_new)
                keys, pairs = _longer(keys, size), _more_rows(pairs, size)
            size = len(slots)
            while 2 * (n_pairs + most_new) > size:
                size *= 2
            if size > len(slots):
                slots = _more_slots(keys, n_pairs, size)
            if n_entries + most_new > len(entries):
                entries = _more_rows(entries, max(len(entries) * 3 // 2, n_entries + most_new))
            read, write = start, start
            while read < end:
                if symbols[read] != left or read + 1 == end or symbols[read + 1] != right:
                    symbols[write] = symbols[read]
                    read += 1
                    write += 1
                    continue
                n_gained = 0
                if write > start:
                    before = symbols[write - 1]
                    lost = np.uint64(before) << _HALF | np.uint64(left)
                    pairs[slots[_slot_of(slots, lost), 1], _COUNT] -= count
                    gained[0], gained[1] = before, token
                    n_gained = 2
                if read + 2 < end:
                    after = symbols[read + 2]
                    lost = np.uint64(right) << _HALF | np.uint64(after)
                    pairs[slots[_slot_of(slots, lost), 1], _COUNT] -= count
                    gained[n_gained], gained[n_gained + 1] = token, after
                    n_gained += 2
                for i in range(0, n_gained, 2):
                    key = np.uint64(gained[i]) << _HALF | np.uint64(gained[i + 1])
                    slot = _slot_of(slots, key)
                    if slots[slot, 0] == _FREE:
                        slots[slot, 0], slots[slot, 1] = key, n_pairs
                        keys[n_pairs], pairs[n_pairs, _COUNT], pairs[n_pairs, _FIRST] = key, 0, -1
                        n_pairs += 1
                    pair = slots[slot, 1]
                    pairs[pair, _COUNT] += count
                    first = pairs[pair, _FIRST]
                    if first < 0 or entries[first, _PIECE] != piece:
                        if free_entry >= 0:
                            new = free_entry
                            free_entry = np.int64(entries[new, _NEXT])
                        else:
                            new = np.int64(n_entries)
                            n_entries += 1
                        entries[new, _PIECE], entries[new, _NEXT] = piece, first
                        pairs[pair, _FIRST] = new
                symbols[write] = token
                write += 1
                read += 2
            ends[piece] = write
        pairs[best, _COUNT] = 0
        if len(heap) < in_heap + n_pairs - old_pairs:
            size = max(2 * len(heap), in_heap + n_pairs - old_pairs)
            heap, heap_counts = _longer(heap, size), _longer(heap_counts, size)
        for pair in range(old_pairs, n_pairs):
            if pairs[pair, _COUNT] >= min_frequency:
                heap[in_heap], heap_counts[in_heap] = pair, pairs[pair, _COUNT]
                _sift_up(heap, heap_counts, in_heap, keys)
                in_heap += 1
    return merges[:learned]
