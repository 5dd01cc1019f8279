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

from llm_core.compiled import compiled

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ONE = np.uint64(1)


@compiled
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


@compiled
def _slot_of(slots, keys, key):  # type: ignore[no-untyped-def]
    """Where ``key`` is in the hash table, or the free place that it would take."""
    mask = np.uint64(len(slots) - 1)
    h = key * _MIX
    slot = (h ^ (h >> _HALF)) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + _ONE) & mask
    return slot


@compiled
def _longer(array, size):  # type: ignore[no-untyped-def]
    longer = np.empty(size, array.dtype)
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
    # Pairs: their key (left, right), count and list of pieces, found by a hash table.
    n_pairs = 0
    keys = np.empty(1 << 17, np.uint64)
    pair_counts = np.zeros(1 << 17, np.int64)
    first_entry = np.empty(1 << 17, np.int64)
    slots = np.full(1 << 18, -1, np.int32)
    # Entries of all lists: a piece, and the next entry. Those of a merged pair are used again.
    entry_piece = np.empty(max(len(symbols), 1), np.int32)
    entry_next = np.empty(max(len(symbols), 1), np.int64)
    n_entries, free_entry = 0, np.int64(-1)

    for piece in range(n_pieces):
        for i in range(starts[piece], ends[piece] - 1):
            key = np.uint64(symbols[i]) << _HALF | np.uint64(symbols[i + 1])
            slot = _slot_of(slots, keys, key)
            pair = slots[slot]
            if pair < 0:  # at most 65,536 times
                pair = n_pairs
                n_pairs += 1
                slots[slot], keys[pair], pair_counts[pair], first_entry[pair] = pair, key, 0, -1
            pair_counts[pair] += counts[piece]
            if first_entry[pair] < 0 or entry_piece[first_entry[pair]] != piece:
                entry_piece[n_entries], entry_next[n_entries] = piece, first_entry[pair]
                first_entry[pair] = n_entries
                n_entries += 1

    heap = np.empty(len(keys), np.int32)
    heap_counts = np.empty(len(keys), np.int64)
    in_heap = 0
    for pair in range(n_pairs):
        if pair_counts[pair] >= min_frequency:
            heap[in_heap], heap_counts[in_heap] = pair, pair_counts[pair]
            _sift_up(heap, heap_counts, in_heap, keys)
            in_heap += 1

    merges = np.empty((most, 2), np.int32)
    learned = 0
    gained = np.empty(4, np.int32)
    while learned < most and in_heap:
        best = heap[0]
        if heap_counts[0] != pair_counts[best]:  # it lost some to other merges since it was put there
            if pair_counts[best] >= min_frequency:
                heap_counts[0] = pair_counts[best]
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
        entry = first_entry[best]
        while entry >= 0:
            piece, following = entry_piece[entry], entry_next[entry]
            entry_next[entry], free_entry = free_entry, entry
            entry = following
            start, end, count = starts[piece], ends[piece], counts[piece]
            # Room for all that this piece can add: two pairs a merge, of which it holds at most half its length.
            most_new = end - start + 1
            if n_pairs + most_new > len(keys):
                size = max(2 * len(keys), n_pairs + most_new)
                keys, pair_counts = _longer(keys, size), _longer(pair_counts, size)
                first_entry = _longer(first_entry, size)
            if 2 * (n_pairs + most_new) > len(slots):
                size = len(slots)
                while 2 * (n_pairs + most_new) > size:
                    size *= 2
                slots = np.full(size, -1, np.int32)
                for pair in range(n_pairs):
                    slots[_slot_of(slots, keys, keys[pair])] = pair
            if n_entries + most_new > len(entry_piece):
                size = max(len(entry_piece) * 3 // 2, n_entries + most_new)
                entry_piece, entry_next = _longer(entry_piece, size), _longer(entry_next, size)
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
                    pair_counts[slots[_slot_of(slots, keys, lost)]] -= count
                    gained[0], gained[1] = before, token
                    n_gained = 2
                if read + 2 < end:
                    after = symbols[read + 2]
                    lost = np.uint64(right) << _HALF | np.uint64(after)
                    pair_counts[slots[_slot_of(slots, keys, lost)]] -= count
                    gained[n_gained], gained[n_gained + 1] = token, after
                    n_gained += 2
                for i in range(0, n_gained, 2):
                    key = np.uint64(gained[i]) << _HALF | np.uint64(gained[i + 1])
                    slot = _slot_of(slots, keys, key)
                    pair = slots[slot]
                    if pair < 0:
                        pair = n_pairs
                        n_pairs += 1
                        slots[slot], keys[pair], pair_counts[pair], first_entry[pair] = pair, key, 0, -1
                    pair_counts[pair] += count
                    if first_entry[pair] < 0 or entry_piece[first_entry[pair]] != piece:
                        if free_entry >= 0:
                            new = free_entry
                            free_entry = entry_next[new]
                        else:
                            new = n_entries
                            n_entries += 1
                        entry_piece[new], entry_next[new] = piece, first_entry[pair]
                        first_entry[pair] = new
                symbols[write] = token
                write += 1
                read += 2
            ends[piece] = write
        pair_counts[best] = 0
        if len(heap) < in_heap + n_pairs - old_pairs:
            size = max(2 * len(heap), in_heap + n_pairs - old_pairs)
            heap, heap_counts = _longer(heap, size), _longer(heap_counts, size)
        for pair in range(old_pairs, n_pairs):
            if pair_counts[pair] >= min_frequency:
                heap[in_heap], heap_counts[in_heap] = pair, pair_counts[pair]
                _sift_up(heap, heap_counts, in_heap, keys)
                in_heap += 1
    return merges[:learned]
