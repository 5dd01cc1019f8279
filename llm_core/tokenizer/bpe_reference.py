"""Byte pair encoding as textbooks tell it: plain, slow, and what the fast library is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from llm_core.tokenizer.alphabet import byte_alphabet

Piece = tuple[bytes, ...]
Pair = tuple[bytes, bytes]


def count_pairs(pieces: dict[Piece, int]) -> Counter[Pair]:
    """How often each two neighbouring tokens occur, over all pieces with their counts."""
    pairs: Counter[Pair] = Counter()
    for piece, count in pieces.items():
        for pair in pairwise(piece):
            pairs[pair] += count
    return pairs


def merge(piece: Piece, pair: Pair) -> Piece:
    """Replace every occurrence of ``pair`` in ``piece``, from the left, by one token."""
    merged: list[bytes] = []
    at = 0
    while at < len(piece):
        if piece[at : at + 2] == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(piece[at])
            at += 1
    return tuple(merged)


def train_bpe(pieces: Iterable[str], merges: int, min_frequency: int = 2) -> list[Pair]:
    """Learn up to ``merges`` merges.

    Args:
        pieces: the text, cut into words, punctuation and so on; merges stay inside a piece.
        merges: how many tokens to add to the 256 bytes.
        min_frequency: stop where the best pair is rarer than this.

    Returns:
        The pairs in the order in which they were merged, which is also the order in which encoding applies them.
        Among equally frequent pairs the one whose tokens are older goes first; bytes in the order of GPT-2's table.
    """
    words: dict[Piece, int] = Counter(tuple(bytes([b]) for b in piece.encode()) for piece in pieces)
    age = {bytes([byte]): number for number, (_, byte) in enumerate(sorted(byte_alphabet().items()))}
    learned: list[Pair] = []
    while len(learned) < merges:
        pairs = count_pairs(words)
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], age[pair[0]], age[pair[1]]))
        if pairs[best] < min_frequency:
            break
        learned.append(best)
        age.setdefault(best[0] + best[1], 256 + len(learned))
        merged: Counter[Piece] = Counter()
        for piece, count in words.items():
            merged[merge(piece, best)] += count
        words = merged
    return learned


def encode_piece(piece: str, merges: list[Pair]) -> list[bytes]:
    """Tokens of one piece: its bytes, with each merge applied in the order learned."""
    tokens: Piece = tuple(bytes([b]) for b in piece.encode())
    for pair in merges:
        tokens = merge(tokens, pair)
    return list(tokens)
