"""Hashed word n-grams of a text, and a linear model over them: training and scoring without a Python object a word.

A *word* here is a run of letters, digits, underscores and combining marks, in lower case; a letter of a script that
puts no blanks between words, and any other character that isn't white space, is a word by itself. (This is not one of
the word definitions of ``annotate``: a classifier wants to see the pipes of a menu.)
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from data_tools.kernels.characters import MARK, SPACE, UNSEGMENTED, WORD, decode

_PART = WORD | MARK
MAX_NGRAMS = 5


@njit(inline="always")
def _mixed(value):  # type: ignore[no-untyped-def]
    """Every bit of the result hangs on every bit of the value (the last steps of MurmurHash3, 64 bits)."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(inline="always")
def _next_word(data, position, end, flags, lower):  # type: ignore[no-untyped-def]
    """The hash of the next word (never 0) and where it ends; hash 0 where there is none."""
    value = np.uint64(0xCBF29CE484222325)
    inside = False
    while position < end:
        byte = data[position]
        if byte < 0x80:
            code, length = np.int64(byte), 1
        else:
            code, length = decode(data, position)
        flag = flags[code]
        if flag & _PART and not flag & UNSEGMENTED:
            value = (value ^ np.uint64(lower[code])) * np.uint64(0x100000001B3)
            inside = True
            position += length
        elif inside:
            break
        else:
            position += length
            if not flag & SPACE:
                value = (value ^ np.uint64(code)) * np.uint64(0x100000001B3)
                inside = True
                break
    if not inside:
        return np.uint64(0), position
    return _mixed(value) | np.uint64(1), position


@njit(inline="always")
def _ngram(history, count, n, buckets):  # type: ignore[no-untyped-def]
    """The bucket of the last n words; ``history`` is a ring of word hashes."""
    value = np.uint64(n)
    for back in range(n - 1, -1, -1):
        value = value * np.uint64(0x9E3779B97F4A7C15) + history[(count - 1 - back) % MAX_NGRAMS]
    return np.int64(_mixed(value) % np.uint64(buckets))


@njit(cache=True, nogil=True)
def features(data, begin, end, flags, lower, ngrams, max_words, buckets):  # type: ignore[no-untyped-def]
    """(n-grams,) int32: the bucket of every n-gram of 1 to ``ngrams`` words, of the first ``max_words`` words."""
    capacity = min(max_words, end - begin) * ngrams
    found = np.empty(capacity, dtype=np.int32)
    history = np.zeros(MAX_NGRAMS, dtype=np.uint64)
    size, count, position = 0, 0, begin
    while count < max_words:
        word, position = _next_word(data, position, end, flags, lower)
        if word == 0:
            break
        history[count % MAX_NGRAMS] = word
        count += 1
        for n in range(1, min(ngrams, count) + 1):
            found[size] = _ngram(history, count, n, buckets)
            size += 1
    return found[:size].copy()


@njit(cache=True, nogil=True)
def scores(data, offsets, flags, lower, ngrams, max_words, weights, bias):  # type: ignore[no-untyped-def]
    """(texts,) float64: the probability of each text, ``sigmoid(bias + sum of weights / sqrt(n-grams))``."""
    buckets = len(weights)
    result = np.empty(len(offsets) - 1, dtype=np.float64)
    history = np.zeros(MAX_NGRAMS, dtype=np.uint64)
    for text in range(len(result)):
        total, size, count = 0.0, 0, 0
        position, end = offsets[text], offsets[text + 1]
        while count < max_words:
            word, position = _next_word(data, position, end, flags, lower)
            if word == 0:
                break
            history[count % MAX_NGRAMS] = word
            count += 1
            for n in range(1, min(ngrams, count) + 1):
                total += weights[_ngram(history, count, n, buckets)]
                size += 1
        z = np.float64(bias)
        if size:
            z += total / math.sqrt(size)
        result[text] = 1.0 / (1.0 + math.exp(-min(max(z, -700.0), 700.0)))
    return result


@njit(cache=True, nogil=True)
def train_epoch(buckets_of, offsets, labels, order, weights, squares, bias, rate, decay):  # type: ignore[no-untyped-def]
    """One pass of stochastic gradient descent on the logistic loss, with AdaGrad's step sizes.

    Args:
        buckets_of, offsets: the features of all examples, one after the other.
        labels: (examples,) 0 or 1. order: (examples,) which comes when.
        weights, squares: (buckets,) float32, changed in place. bias: (2,) float64, the bias and its sum of squares.
        rate, decay: the learning rate at the first example, and by how much it falls with each.

    Returns:
        the mean loss of the examples, each before its own step.
    """
    loss = 0.0
    for example in order:
        begin, end = offsets[example], offsets[example + 1]
        scale = 1.0 / math.sqrt(max(1, end - begin))
        z = bias[0]
        total = 0.0
        for k in range(begin, end):
            total += weights[buckets_of[k]]
        z = min(max(z + total * scale, -700.0), 700.0)
        probability = 1.0 / (1.0 + math.exp(-z))
        if labels[example]:
            loss += math.log1p(math.exp(-z)) if z > -30.0 else -z
        else:
            loss += math.log1p(math.exp(z)) if z < 30.0 else z
        gradient = probability - labels[example]
        bias[1] += gradient * gradient
        bias[0] -= rate * gradient / math.sqrt(bias[1])
        step = gradient * scale
        square = step * step
        for k in range(begin, end):
            bucket = buckets_of[k]
            squares[bucket] += np.float32(square)
            weights[bucket] -= np.float32(rate * step / math.sqrt(squares[bucket]))
        rate -= decay
    return loss / max(1, len(order))
