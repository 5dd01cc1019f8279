"""Sixty-four bytes looked at together: which of them are equal to a byte, or within a range, as the bits of an integer.

The comparisons are vector instructions of LLVM, which makes of them what the processor has. Langdale and Lemire read
JSON in this way ("Parsing gigabytes of JSON per second", 2019). Addresses are those of arrays with ``REACH`` bytes to
read behind all that is looked at: ``padded_buffers`` sees to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from data_tools.kernels.buffers import Bytes, Offsets, text_buffers

BLOCK = 64
#: Bytes behind a position that may be read from there: a block, and the one or two bytes that follow it.
REACH = BLOCK + 8

_BITS, _LANES = ir.IntType(64), ir.VectorType(ir.IntType(8), BLOCK)
_ZERO, _ONE, _EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


def padded_buffers(column: pa.ChunkedArray | pa.Array) -> tuple[Bytes, Offsets]:
    """``text_buffers``, with ``REACH`` bytes or more behind the last text (which for most slices are there)."""
    data, offsets = text_buffers(column)
    if len(data) - offsets[-1] >= REACH:
        return data, offsets
    padded = np.zeros(int(offsets[-1] - offsets[0]) + REACH, dtype=np.uint8)
    padded[:-REACH] = data[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    padded.flags.writeable = offsets.flags.writeable = False  # as Arrow's are: kernels are compiled once
    return padded, offsets


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_LANES, ir.Undefined)
    lane = builder.insert_element(undefined, builder.trunc(value, ir.IntType(8)), ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))


def _lanes(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _LANES.as_pointer()), align=1)


def _equal(typing_context: Any, address: Any, byte: Any) -> Any:
    """Bit i: whether byte i of the block is ``byte``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = _lanes(builder, arguments[0])
        return builder.bitcast(builder.icmp_unsigned("==", lanes, _splat(builder, arguments[1])), _BITS)

    return types.uint64(types.uint64, types.int64), generate


def _equal_folded(typing_context: Any, address: Any, byte: Any) -> Any:
    """Bit i: whether byte i is the small letter ``byte`` or its capital."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = builder.or_(_lanes(builder, arguments[0]), ir.Constant(_LANES, [0x20] * BLOCK))
        return builder.bitcast(builder.icmp_unsigned("==", lanes, _splat(builder, arguments[1])), _BITS)

    return types.uint64(types.uint64, types.int64), generate


def _within(typing_context: Any, address: Any, low: Any, high: Any) -> Any:
    """Bit i: whether byte i is one of ``low`` to ``high``, both included."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        above = builder.sub(_lanes(builder, arguments[0]), _splat(builder, arguments[1]))
        span = _splat(builder, builder.sub(arguments[2], arguments[1]))
        return builder.bitcast(builder.icmp_unsigned("<=", above, span), _BITS)

    return types.uint64(types.uint64, types.int64, types.int64), generate


def _load_eight_bytes(typing_context: Any, address: Any) -> Any:
    """The eight bytes at an address, which need not be aligned, as a little-endian integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _BITS.as_pointer()), align=1)

    return types.uint64(types.uint64), generate


def _store_eight_bytes(typing_context: Any, address: Any, value: Any) -> Any:
    """Write a little-endian integer to an address, which need not be aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], _BITS.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


def _count_trailing_zeros(typing_context: Any, value: Any) -> Any:
    """Zero bits below the lowest one; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


def _count_ones(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


equal: Any = intrinsic(_equal)
equal_folded: Any = intrinsic(_equal_folded)
within: Any = intrinsic(_within)
load_eight: Any = intrinsic(_load_eight_bytes)
store_eight: Any = intrinsic(_store_eight_bytes)
trailing_zeros: Any = intrinsic(_count_trailing_zeros)
ones: Any = intrinsic(_count_ones)


@njit(cache=True, nogil=True)
def address_of(data):  # type: ignore[no-untyped-def]
    """Where the array's first byte is."""
    return np.uint64(data.ctypes.data)


@njit(cache=True, nogil=True)
def first_bits(count):  # type: ignore[no-untyped-def]
    """The mask of a block's first ``count`` bytes; of all from 64 on."""
    return _ONES if count >= BLOCK else (_ONE << np.uint64(count)) - _ONE


@njit(cache=True, nogil=True)
def find_byte(data, start, end, byte):  # type: ignore[no-untyped-def]
    """Where the first ``byte`` stands in ``data[start:end]``; ``end`` if there is none."""
    base = address_of(data)
    for position in range(start, end, BLOCK):
        found = equal(base + np.uint64(position), byte)
        if found:
            return min(position + np.int64(trailing_zeros(found)), end)
    return end


@njit(cache=True, nogil=True)
def copy_bytes(source, start, end, target, to):  # type: ignore[no-untyped-def]
    """Write ``source[start:end]`` to ``target[to:]``, and up to seven bytes more."""
    read, write = address_of(source) + np.uint64(start), address_of(target) + np.uint64(to)
    for place in range(_ZERO, np.uint64(end - start), _EIGHT):
        store_eight(write + place, load_eight(read + place))
