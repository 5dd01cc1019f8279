"""Examples of good and bad texts to a model that scores every document (``quality``, see annotate).

Memory: 4 bytes for each n-gram of each example (at most ``max_words`` times ``word_ngrams`` an example). Training is
one thread's work and takes seconds for tens of thousands of examples, so that it isn't resumed but done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.config import DataRuntime, QualityClassifierConfig, SourceConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from data_tools.sources.protocol import Source, SourceFile

Counters = dict[str, int | float | str]

SIDES = {"positive": "good", "negative": "bad"}
_BATCH = 512
_MAX_EXAMPLE_BYTES = 20_000_000
_KINDS = ("parquet", "jsonl", "text")


@dataclass
class _Examples:
    """What is known of every example; texts are not kept."""

    ids: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    features: list[npt.NDArray[np.int32]] = field(default_factory=list)


def source_digests(config: QualityClassifierConfig, runtime: DataRuntime) -> dict[str, str]:
    """Side, number and file name to the sha256 of every file of examples.

    Raises:
        DataError: one of the paths leads nowhere.
    """
    from data_tools.sources.files import content_digest

    return {
        f"{side} {number}/{file.name}": content_digest(file)
        for side in SIDES
        for number, path in enumerate(getattr(config, side))
        for _, file in _files(side, path, runtime)
    }


def run(
    config: QualityClassifierConfig,
    inputs: dict[str, Path],
    out: Path,
    progress: Progress,
    runtime: DataRuntime,
) -> Counters:
    """Write the model (``weights.npy``, ``model.json``), ``report.json`` (how well it tells the held-out examples
    apart) and ``examples/`` (what it was trained and tested on).

    Equal texts count once; a text that is an example of both is none of either.

    Raises:
        DataError: a source or a file isn't there, or a side has too few examples.
    """
    import numpy as np
    import pyarrow as pa

    from data_tools.atomic_file import write_json
    from data_tools.filters.classifier import evaluate, save, train
    from data_tools.parquet import ShardFile
    from data_tools.schema import QUALITY_EXAMPLES

    examples, broken = _gather(config, inputs["documents"], progress, runtime)
    chosen, contradictions = _chosen(examples)
    labels = np.array([examples.labels[i] for i in chosen], dtype=np.int8)
    held_out = _held_out([examples.ids[i] for i in chosen], labels, config)
    features = [examples.features[i] for i in chosen]
    model, losses = train([features[i] for i in np.flatnonzero(~held_out)], labels[~held_out], config, progress)
    scores = np.array([model.score_of_features(one) for one in features])
    found = evaluate(labels[held_out], scores[held_out])

    counts = {
        f"{part}_{name}": int(((labels == value) & rows).sum())
        for part, rows in (("examples", np.ones_like(held_out)), ("holdout", held_out))
        for name, value in (("good", 1), ("bad", 0))
    }
    save(model, out, {"examples": counts, "holdout_auc": found["auc"], "seed": config.seed})
    write_json(out / "report.json", {**found, **counts, "losses": losses})
    table = {
        "doc_id": [examples.ids[i] for i in chosen],
        "label": ["good" if label else "bad" for label in labels],
        "split": ["holdout" if held else "train" for held in held_out],
        "origin": [examples.origins[i] for i in chosen],
        "score": scores,
    }
    with ShardFile(out / "examples" / "part-00000.parquet", QUALITY_EXAMPLES) as file:
        file.write(pa.table(table, schema=QUALITY_EXAMPLES))
    return {
        **counts,
        "holdout_accuracy": round(found["accuracy"], 6),
        "holdout_auc": round(found["auc"], 6),
        "contradictory_examples": contradictions,
        "repeated_examples": len(examples.ids) - len(set(examples.ids)),
        "broken_examples": broken,
        "train_loss": round(losses[-1], 6),
    }


def _gather(
    config: QualityClassifierConfig, ingested: Path, progress: Progress, runtime: DataRuntime
) -> tuple[_Examples, int]:
    """All examples of both sides, and how many records were broken."""
    import pyarrow as pa

    from data_tools.filters.classifier import text_features

    examples, broken = _Examples(), 0
    for label, side in ((1, "positive"), (0, "negative")):
        read = _read(config, side, ingested, runtime)
        while batch := list(islice(read, _BATCH)):
            sound = [example for example in batch if example is not None]
            broken += len(batch) - len(sound)
            examples.features += text_features(pa.array([text for _, text, _ in sound], pa.large_string()), config)
            examples.ids += [doc_id for doc_id, _, _ in sound]
            examples.origins += [origin for _, _, origin in sound]
            examples.labels += [label] * len(sound)
            progress(len(examples.ids), None, "reading examples")
    return examples, broken


def _chosen(examples: _Examples) -> tuple[list[int], int]:
    """Positions in the order of their ids, each id once; and how many ids were good as well as bad, and so left out."""
    first: dict[str, int] = {}
    both: set[str] = set()
    for position, doc_id in enumerate(examples.ids):
        earlier = first.setdefault(doc_id, position)
        if examples.labels[earlier] != examples.labels[position]:
            both.add(doc_id)
    return [first[doc_id] for doc_id in sorted(first) if doc_id not in both], len(both)


def _held_out(
    ids: Sequence[str], labels: npt.NDArray[np.int8], config: QualityClassifierConfig
) -> npt.NDArray[np.bool_]:
    """(examples,) which are kept apart: of each side the same share, chosen by a hash of id and seed.

    Raises:
        DataError: a side has fewer than two examples.
    """
    import numpy as np
    import xxhash

    keys = np.array([xxhash.xxh3_64_intdigest(f"{config.seed}:{doc_id}".encode()) for doc_id in ids], dtype=np.uint64)
    held = np.zeros(len(ids), dtype=bool)
    for value, side in ((1, "positive"), (0, "negative")):
        rows = np.flatnonzero(labels == value)
        if len(rows) < 2:
            raise DataError(
                f"{len(rows)} {SIDES[side]} examples (each text counts once, and none that is both good and bad): "
                "at least 2 are needed, and some hundreds make a classifier",
                where=f"quality_classifier.{side}",
                fix=f"Name more files in {side}, or more sources in {side}_sources.",
            )
        count = min(len(rows) - 1, max(1, round(config.holdout_fraction * len(rows))))
        held[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return held


def _read(
    config: QualityClassifierConfig, side: str, ingested: Path, runtime: DataRuntime
) -> Iterator[tuple[str, str, str] | None]:
    """(doc_id, text, origin) of every example of a side; None for a broken one."""
    from data_tools.sources.protocol import Quarantined, Record
    from data_tools.text import document_id, normalize

    for path in getattr(config, side):
        for source, file in _files(side, path, runtime):
            for record in source.read(file):
                if isinstance(record, Quarantined):
                    yield None
                elif isinstance(record, Record):
                    text = normalize(record.text, "nfc-clean")
                    if text.strip():
                        yield document_id(text), text, f"{file.name}, {record.position}"
    names = getattr(config, f"{side}_sources")
    if names:
        yield from _ingested(names, side, ingested)


def _ingested(names: Sequence[str], side: str, ingested: Path) -> Iterator[tuple[str, str, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.parquet import read_row_groups, shard_paths

    seen: set[str] = set()
    for path in shard_paths(ingested / "documents"):
        for table in read_row_groups(path, ["doc_id", "text", "source"]):
            seen.update(pc.unique(table["source"]).to_pylist())
            chosen = table.filter(pc.is_in(table["source"], pa.array(names, pa.string())))
            columns = [chosen[name].to_pylist() for name in ("doc_id", "text", "source")]
            for doc_id, text, source in zip(*columns, strict=True):
                yield doc_id, text, f"source {source}"
    missing = [name for name in names if name not in seen]
    if missing:
        raise DataError(
            f"no documents of source {', '.join(map(repr, missing))}; there are some of {', '.join(sorted(seen))}",
            where=f"quality_classifier.{side}_sources",
            fix="Write the name as it stands in ingest.sources.",
        )


def _files(side: str, path: str, runtime: DataRuntime) -> list[tuple[Source, SourceFile]]:
    """The files that a path of the configuration means, each with the source that reads it."""
    from data_tools.sources import open_source
    from data_tools.sources.files import EXTENSIONS, has_extension

    found: list[tuple[Source, SourceFile]] = []
    refused: DataError | None = None
    for kind in _KINDS:
        config = SourceConfig.model_validate({"kind": kind, "name": side, "path": path})
        source = open_source(config, runtime, _MAX_EXAMPLE_BYTES)
        try:
            files = source.files()
        except DataError as error:
            refused = error
            continue
        found += [(source, file) for file in files if has_extension(file.name, EXTENSIONS[kind])]
        if kind == "text" and not found:
            found = [(source, file) for file in files]  # one file by its name, whatever that ends in
    if not found:
        raise DataError(
            refused.what if refused is not None else "no files of examples",
            where=f"quality_classifier.{side}, {path!r}",
            fix="Name a file, a folder or a glob of Parquet, JSONL or text files, relative to where the command runs.",
        ) from refused
    return found
