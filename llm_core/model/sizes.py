"""Named sizes, from a million to ten thousand million parameters: what `model.size` fills in."""

from __future__ import annotations

from typing import Any


def _size(layers: int, dim: int, heads: int, kv_heads: int, ffn_dim: int, context_length: int) -> dict[str, Any]:
    shape = {"layers": layers, "dim": dim, "heads": heads, "kv_heads": kv_heads}
    return shape | {"ffn_dim": ffn_dim, "context_length": context_length}


#: Heads of 64 or 128 dimensions (1m: 32); feed-forward 8/3 of the width, rounded to 128, and 7/2 at 7b, where the name
#: asks for it; grouped queries from 350m on.
SIZES: dict[str, dict[str, Any]] = {
    "1m": _size(4, 128, 4, 4, 384, 256),
    "15m": _size(6, 384, 6, 6, 1024, 512),
    "50m": _size(8, 512, 8, 8, 1408, 1024),
    "124m": _size(12, 768, 6, 6, 2048, 2048),
    "350m": _size(24, 1024, 8, 4, 2816, 2048),
    "760m": _size(24, 1536, 12, 4, 4096, 2048),
    "1b": _size(24, 2048, 16, 4, 5504, 2048),
    "3b": _size(28, 3072, 24, 8, 8192, 4096),
    "7b": _size(32, 4096, 32, 8, 14336, 4096),
    "10b": _size(40, 4608, 36, 12, 12288, 4096),
}
