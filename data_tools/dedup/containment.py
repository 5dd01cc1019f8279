"""Documents that stand in a longer one: a chapter beside its book, a page beside the manual "on one page".

Jaccard similarity can't see them (a chapter of a hundredth of a book has 0.01), containment can: the share of the
part's shingles that the whole has (Broder 1997). Pairs are found by their sketches (`data_tools.dedup.sketches`) and
verified on exact shingles. Of a page that is mostly menu nine tenths may stand in another page of the site, and the
last tenth be all that it says. So what the whole lacks is held against those of the part's shingles that few documents
have: with a tenth of its own, and 0.9 asked for, the whole must have 0.99 of it.

A document goes for a longer one that stays itself, whatever the keep rule says: the whole has all that the part has.
It isn't a copy of it, though, so it doesn't count in the whole's ``cluster_size``. Its near copies must stand in the
same whole and go with it; otherwise it stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.atomic_file import atomic_writer
from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.dedup.candidates import BATCH_BYTES, NEAR, Shards, wanted_texts
from data_tools.dedup.describe import open_array, save_array
from data_tools.dedup.keep import Records
from data_tools.dedup.shingles import Shingles, shingle_runs, standing_in
from data_tools.dedup.sketches import candidate_pairs, in_sketch, sketch_scale
from data_tools.parallel import map_shards, worker_count
from data_tools.progress import Progress

#: A pair that was verified: positions, the estimate, the truth, which truth is enough, and how many distinct shingles
#: the part has.
_VERIFIED = np.dtype([*NEAR.descr, ("enough", "<f8"), ("shingles", "<i8")])


def find_contained(
    config: DeduplicateConfig,
    shards: Shards,
    documents: Records,
    staying: npt.NDArray[np.bool_],
    near: Records,
    sizes: Sequence[int],
    progress: Progress,
    runtime: DataRuntime,
) -> tuple[Records, int]:
    """Which documents stand in longer ones.

    Args:
        documents: of dtype `keep.DOCUMENT`, the whole corpus.
        staying: (documents,) false for those that are out.
        near: of dtype `candidates.NEAR`: near copies that are out, and for whom.
        sizes: bytes of each shard.

    Returns:
        Of dtype `candidates.NEAR` in corpus order, those that go and in which document they stand; and how many pairs
        were compared exactly. Some were near copies of a part.
    """
    unfinished = shards.folder.parent
    saved = shards.folder / "contained-pairs.npy"
    if not saved.exists():
        progress(0, None, "looking for parts")
        pairs = candidate_pairs(
            [shards.folder / "sketches" / path.name for path in shards.paths],
            np.flatnonzero(~staying),
            config,
            memory_bytes=runtime.memory_mb * 1_000_000,
            threads=worker_count(runtime.workers, 1024),
            spill=shards.folder / "spill",
        )
        save_array(saved, _with_near_copies(pairs, near, config.max_comparisons))
    pairs = open_array(saved)
    if not len(pairs):
        return np.zeros(0, dtype=NEAR), 0
    wanted = np.unique([pairs["part"], pairs["whole"]])
    concerned = shards.want("contained-wanted", wanted)
    map_shards(
        partial(_lay_down_shingles, config, shards),
        concerned,
        runtime=runtime,
        sizes=[sizes[shard] for shard in concerned],
        progress=progress,
        message="reading parts and wholes",
        ledger=unfinished / "contained-shingles",
    )
    number = np.cumsum(documents["n_bytes"][pairs["part"]]) // BATCH_BYTES
    batches: list[Path] = []
    for batch in np.split(pairs, np.flatnonzero(np.diff(number)) + 1):
        batches.append(shards.folder / "contained-batches" / f"{len(batches):06d}.npy")
        save_array(batches[-1], batch)
    map_shards(
        partial(_verify_pairs, config, shards),
        batches,
        runtime=runtime,
        sizes=[BATCH_BYTES] * len(batches),
        progress=progress,
        message="verifying parts",
        ledger=unfinished / "contained-verifying",
    )
    verified = np.concatenate([open_array(shards.folder / "contained" / path.name) for path in batches])
    return settle_parts(config, verified, documents["n_bytes"], near), len(verified)


def _with_near_copies(pairs: Records, near: Records, most: int) -> Records:
    """The same pairs without parts that have more than ``most`` near copies, and for each near copy of a part one
    more, with the part's whole and the part's own share."""
    copies = near[np.argsort(near["representative"], kind="stable")]
    first, last = (np.searchsorted(copies["representative"], pairs["part"], side) for side in ("left", "right"))
    few = last - first <= most
    pairs, first, count = pairs[few], first[few], (last - first)[few]
    more = np.repeat(pairs, count)
    place = np.repeat(first, count) + np.arange(len(more)) - np.repeat(np.cumsum(count) - count, count)
    more["part"] = copies["document"][place]
    found = np.concatenate([pairs, more])
    return found[np.lexsort([found["part"], found["whole"]])]


def _lay_down_shingles(config: DeduplicateConfig, shards: Shards, shard: int) -> int:
    """Write the shingles of those documents of one shard whose positions are in ``contained-wanted/``."""
    ends = [np.zeros(1, np.int64)]  # with a 0 before, so that each one's beginning is there too
    written = 0
    with atomic_writer(shards.file("contained-shingles", shard)) as handle:
        for texts in wanted_texts(shards, shard, "contained-wanted"):
            found, found_ends = shingle_runs(texts, config.shingle_words)
            handle.write(found.data)
            ends.append(found_ends + written)
            written += len(found)
    save_array(shards.file("contained-ends", shard), np.concatenate(ends))
    return written


def _verify_pairs(config: DeduplicateConfig, shards: Shards, batch: Path) -> int:
    """Compare the pairs in ``batch``, and write what comes out to the file of the same name in ``contained/``."""
    pairs = open_array(batch)
    verified = np.zeros(len(pairs), dtype=_VERIFIED)
    verified["document"], verified["representative"] = pairs["part"], pairs["whole"]
    assert config.min_containment is not None
    verified["enough"] = 1 - (1 - config.min_containment) * pairs["own"]
    members = np.unique([pairs["part"], pairs["whole"]])
    shingles: dict[int, Shingles] = {}
    for shard, which in shards.split(members):
        # Mapped into memory, not read: a whole may be larger than any.
        laid_down = np.asarray(np.memmap(shards.file("contained-shingles", shard), dtype=np.uint64, mode="r"))
        slots = np.searchsorted(open_array(shards.file("contained-wanted", shard)), members[which])
        ends = open_array(shards.file("contained-ends", shard))
        for member, slot in zip(members[which].tolist(), slots.tolist(), strict=True):
            shingles[member] = laid_down[ends[slot] : ends[slot + 1]]
    scale = sketch_scale(config)
    for row, (part, whole) in enumerate(pairs[["part", "whole"]].tolist()):
        ours, theirs = shingles[part], shingles[whole]
        shared = standing_in(ours, theirs)
        sketch = shared[in_sketch(ours, scale)]
        verified[row]["shingles"] = len(ours)
        verified[row]["exact"] = shared.mean()
        verified[row]["estimated"] = sketch.mean() if len(sketch) else 0.0
    save_array(shards.folder / "contained" / batch.name, verified)
    return len(pairs)


def settle_parts(
    config: DeduplicateConfig, verified: Records, n_bytes: npt.NDArray[np.int64], near: Records
) -> Records:
    """Who goes for whom: the longest first, so that it is known of a whole whether it stays when its parts are looked
    at; for the one that has most of it, among equals the longest."""
    part, whole, exact = verified["document"], verified["representative"], verified["exact"]
    stands = (exact >= verified["enough"]) & (n_bytes[part] < n_bytes[whole])
    is_copy = np.isin(part, near["document"])
    asked = np.flatnonzero(stands & (verified["shingles"] >= config.containment_min_shingles) & ~is_copy)
    copies: dict[int, list[int]] = defaultdict(list)
    for copy, original in near[np.isin(near["representative"], part[asked])][["document", "representative"]].tolist():
        copies[original].append(copy)
    row_of_copy = {(int(part[row]), int(whole[row])): row for row in np.flatnonzero(is_copy).tolist()}
    going: dict[int, int] = {}  # document to the row that it goes for
    order = np.lexsort([whole[asked], -n_bytes[whole[asked]], -exact[asked], part[asked], -n_bytes[part[asked]]])
    for row in asked[order].tolist():
        one, other = int(part[row]), int(whole[row])
        if one in going or other in going:
            continue
        together = [row, *(row_of_copy[copy, other] for copy in copies[one])]
        if stands[together].all():
            going |= {int(part[row]): row for row in together}
    return verified[[going[document] for document in sorted(going)]][list(NEAR.names or ())].astype(NEAR)
