"""The arithmetic of a mixture: how often each source comes, and with it each document.

A source's *supply* is its training bytes, each document counted as often as its cluster size says (``rehydrate``). Its
*epochs* say how often the supply comes: 2.5 is twice everything and half of it once more. Which half is decided by the
hash of each document's id, so that it needs no order and stays the same when other documents come or go.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_tools.config import MixConfig
from data_tools.errors import DataError

# What floating-point arithmetic may make of "exactly max_epochs".
_ROUNDING = 1e-9


def copies_of_cluster(config: MixConfig, cluster_size: int | None) -> int:
    """How often a document that stands for ``cluster_size`` copies is in its source's supply."""
    copies = 1
    for from_size, repeats in sorted(config.rehydrate or ()):
        if (cluster_size or 1) >= from_size:
            copies = repeats
    return copies


def plan_epochs(config: MixConfig, supply: Mapping[str, int]) -> dict[str, float]:
    """Source to how often its supply comes.

    A budget is kept or refused, never cut silently: what a source can't fill within ``max_epochs`` would be taken from
    its share of the mixture.

    Args:
        supply: training bytes of each source that has documents.

    Raises:
        DataError: a source that is named has no training documents, or not enough.
    """
    wanted = _wanted_bytes(config, supply)
    if wanted is None:
        return dict.fromkeys(supply, 1.0)
    epochs = dict.fromkeys(supply, 0.0 if config.weights is not None else 1.0)
    for source, n_bytes in wanted.items():
        epochs[source] = n_bytes / supply[source]
        if epochs[source] > config.max_epochs * (1 + _ROUNDING):
            raise DataError(
                f"source {source!r} has {supply[source]:,} training bytes, {supply[source] * config.max_epochs:,.0f} "
                f"within {config.max_epochs:g} epochs; {n_bytes:,.0f} are asked of it",
                where="mix",
                fix=f"Raise mix.max_epochs to {epochs[source]:.2f}, ask for less, or bring more documents.",
            )
    return epochs


def _wanted_bytes(config: MixConfig, supply: Mapping[str, int]) -> dict[str, float] | None:
    """Source to the training bytes that are asked of it; None if nothing is said."""
    field = next((name for name in ("weights", "budgets", "tokens") if getattr(config, name) is not None), None)
    if field is None:
        return None
    named: dict[str, float] = getattr(config, field)
    for source in sorted(named):
        if not supply.get(source):
            raise DataError(
                f"there are no training documents of source {source!r}; there are of "
                f"{', '.join(sorted(name for name in supply if supply[name])) or 'none'}",
                where=f"mix.{field}",
                fix="Correct the name, or look at what the stages before removed.",
            )
    if field == "budgets":
        return dict(named)
    if field == "tokens":
        return {source: tokens * config.bytes_per_token for source, tokens in named.items()}
    shares = {source: weight / sum(named.values()) for source, weight in named.items()}
    total: float | None = config.total_bytes
    if total is None:
        total = min(supply[source] * config.max_epochs / share for source, share in shares.items())
    return {source: share * total for source, share in shares.items()}


def repetitions(doc_id: str, salt: str, times: float) -> int:
    """How many rows a document gets that is to come ``times`` on average: the whole part, and one more with the
    probability of the rest, by the hash of its id."""
    whole = int(times)
    rest = times - whole
    if rest <= 0:
        return whole
    position = xxhash.xxh3_64_intdigest(f"{salt}/repetition {whole}/{doc_id}".encode()) / 2**64
    return whole + (position < rest)


def once(table: pa.Table) -> pa.Table:
    """The rows of a mixed table in which a document comes for the first time."""
    return table.filter(pc.equal(table["repetition"], 0))
