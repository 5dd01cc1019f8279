"""What stands on a data card, as plain values: counted and drawn from the tables of the chain.

Memory is bounded: every question is a query that DuckDB answers within its limit, and only totals and a few examples
come back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from data_tools.answers.pairs import DuplicatePair, duplicate_pairs
from data_tools.answers.recount import recount
from data_tools.answers.removals import Example, beginnings, examples, quarantined
from data_tools.answers.tables import COPY, Tables
from data_tools.config import DataCardConfig, Recipe
from data_tools.funnel import SourceCounts, by_source, funnel

#: Rows of a table of languages, hosts and the like; the rest is summed up.
LONGEST_TABLE = 15

#: Cluster sizes that are counted together.
CLUSTER_SIZES = ((2, 2), (3, 3), (4, 5), (6, 10), (11, 100), (101, None))


@dataclass(frozen=True)
class Share:
    """A part of the corpus: a language, a split, a host, a range of lengths."""

    name: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class Source:
    """A place that documents came from: what was read there, and what of it stands in the corpus."""

    name: str
    kind: str
    licenses: tuple[str, ...]
    documents_read: int
    bytes_read: int
    documents: int
    bytes: int
    rows: int
    """With repetitions."""


@dataclass(frozen=True)
class Removed:
    """Why a stage removed documents."""

    stage: str
    reason: str
    documents: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Duplicates:
    exact: int = 0
    near: int = 0
    contained: int = 0
    in_index: int = 0
    clusters: int = 0
    cluster_sizes: tuple[tuple[str, int], ...] = ()
    """Range ("6 to 10") to the number of clusters of that size."""
    largest: tuple[tuple[int, str, str], ...] = ()
    """Size, doc_id and beginning of what stands for the largest clusters."""
    closest_calls: tuple[DuplicatePair, ...] = ()
    """Removed at the lowest similarity: where a mistake would stand first."""
    drawn: tuple[DuplicatePair, ...] = ()


@dataclass(frozen=True)
class Contamination:
    benchmark: str
    action: str
    documents: int
    examples: int
    matched: tuple[tuple[str, str, str], ...]
    """doc_id, the example's id, and an n-gram that both have."""


@dataclass(frozen=True)
class CardFacts:
    """Everything on the card. ``data_card.json`` is this, written down."""

    title: str
    about: str
    documents: int
    rows: int
    """Documents with their repetitions: what the model will read."""
    bytes: int
    row_bytes: int
    tokens: int
    """An estimate for the rows, by ``mix.bytes_per_token``."""
    bytes_per_token: float
    shortest: int
    median: int
    longest: int
    lengths: tuple[Share, ...]
    languages: tuple[Share, ...]
    splits: tuple[Share, ...]
    hosts: tuple[Share, ...]
    sources: tuple[Source, ...]
    funnel: tuple[dict[str, str | int], ...]
    sources_by_stage: dict[str, dict[str, SourceCounts]]
    removed: tuple[Removed, ...]
    quarantined: tuple[Removed, ...]
    edits: tuple[tuple[str, str, int, int], ...]
    """Stage, what was done, how often, in how many documents."""
    duplicates: Duplicates
    contamination: tuple[Contamination, ...]
    recipe: dict[str, dict[str, Any]]
    """Stage to what its configuration says beyond the defaults."""
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def gather(tables: Tables, card: DataCardConfig, recipe: Recipe) -> CardFacts:
    """Ask the tables for everything on the card."""
    counters = recount(tables)
    mixed = tables.scan("mix", "documents")
    (size,) = tables.rows(
        "SELECT count(*) FILTER (repetition = 0) AS documents, count(*) AS n_rows, "
        "coalesce(sum(n_bytes) FILTER (repetition = 0), 0)::BIGINT AS bytes, "
        "coalesce(sum(n_bytes), 0)::BIGINT AS row_bytes, min(n_bytes) AS shortest, max(n_bytes) AS longest "
        f"FROM {mixed}"
    )
    per_token = (recipe.mix.bytes_per_token if recipe.mix else None) or 4.0
    removed = _removed(tables, counters, card)
    return CardFacts(
        title=card.title,
        about=card.about,
        documents=size["documents"],
        rows=size["n_rows"],
        bytes=size["bytes"],
        row_bytes=size["row_bytes"],
        tokens=round(size["row_bytes"] / per_token),
        bytes_per_token=per_token,
        shortest=size["shortest"] or 0,
        median=_median(tables),
        longest=size["longest"] or 0,
        lengths=_lengths(tables),
        languages=_longest(_shares(tables, "coalesce(language, 'not identified')")),
        splits=_splits(tables),
        hosts=_longest(
            _shares(tables, "regexp_extract(url, '^[a-zA-Z]+://(?:www[.])?([^/:?#]+)', 1)", "url IS NOT NULL")
        ),
        sources=_sources(tables, recipe, counters),
        funnel=tuple(funnel(counters)),
        sources_by_stage=by_source(counters),
        removed=removed,
        quarantined=_quarantined(tables, counters, card),
        edits=_edits(tables),
        duplicates=_duplicates(tables, card),
        contamination=_contamination(tables, card),
        recipe=said(recipe),
        versions=_versions(tables),
    )


def _shares(tables: Tables, name: str, where: str = "true", order: str = "documents DESC, name") -> list[Share]:
    found = tables.rows(
        f"SELECT {name} AS name, count(*) AS documents, sum(n_bytes)::BIGINT AS bytes "
        f"FROM {tables.scan('mix', 'documents')} WHERE repetition = 0 AND {where} GROUP BY 1 ORDER BY {order}"
    )
    return [Share(str(row["name"]), row["documents"], row["bytes"]) for row in found]


def _longest(shares: Sequence[Share]) -> tuple[Share, ...]:
    kept, rest = shares[:LONGEST_TABLE], shares[LONGEST_TABLE:]
    if not rest:
        return tuple(kept)
    others = Share(f"{len(rest):,} others", sum(s.documents for s in rest), sum(s.bytes for s in rest))
    return (*kept, others)


def _splits(tables: Tables) -> tuple[Share, ...]:
    found = {share.name: share for share in _shares(tables, "split")}
    return tuple(found[name] for name in ("train", "validation", "test") if name in found)


def _lengths(tables: Tables) -> tuple[Share, ...]:
    """Documents by length: a bar for each doubling, empty ones in between included."""
    found = {int(share.name): share for share in _shares(tables, "floor(log2(greatest(n_bytes, 1)))::BIGINT")}
    if not found:
        return ()
    octaves = range(min(found), max(found) + 1)
    return tuple(Share(str(2**octave), *_counts(found.get(octave))) for octave in octaves)


def _counts(share: Share | None) -> tuple[int, int]:
    return (share.documents, share.bytes) if share else (0, 0)


def _median(tables: Tables) -> int:
    """Of the documents' bytes, from a histogram in steps of a 32nd of a doubling: off by 2 % at most."""
    found = tables.rows(
        "SELECT floor(log2(greatest(n_bytes, 1)) * 32)::BIGINT AS step, count(*) AS n "
        f"FROM {tables.scan('mix', 'documents')} WHERE repetition = 0 GROUP BY 1 ORDER BY 1"
    )
    half = sum(row["n"] for row in found) / 2
    seen = 0
    for row in found:
        seen += row["n"]
        if seen >= half:
            return round(2.0 ** ((row["step"] + 0.5) / 32))
    return 0


def _sources(tables: Tables, recipe: Recipe, counters: Mapping[str, Mapping[str, int]]) -> tuple[Source, ...]:
    kinds = {source.name: source.kind for source in recipe.ingest.sources} if recipe.ingest else {}
    licenses: dict[str, list[str]] = defaultdict(list)
    for row in tables.rows(
        f"SELECT DISTINCT source, license FROM {tables.scan('ingest', 'documents')} "
        "WHERE license IS NOT NULL ORDER BY source, license"
    ):
        licenses[row["source"]].append(row["license"])
    rows = {
        row["source"]: row["n"]
        for row in tables.rows(f"SELECT source, count(*) AS n FROM {tables.scan('mix', 'documents')} GROUP BY source")
    }
    read, kept = by_source(counters), counters.get("mix", {})
    return tuple(
        Source(
            name,
            kinds.get(name, ""),
            tuple(licenses[name]),
            stages["ingest"].documents,
            stages["ingest"].bytes,
            kept.get(f"source.{name}.documents_out", 0),
            kept.get(f"source.{name}.bytes_out", 0),
            rows.get(name, 0),
        )
        for name, stages in read.items()
        if "ingest" in stages
    )


def _removed(tables: Tables, counters: Mapping[str, Mapping[str, int]], card: DataCardConfig) -> tuple[Removed, ...]:
    """Reason by reason, in the chain's order, the most frequent first. Duplicates have a section of their own."""
    drawn = examples(tables, card.examples, card.excerpt_chars, where="stage <> 'deduplicate'") if card.examples else {}
    found = [
        Removed(stage, reason, n, tuple(drawn.get((stage, reason), ())))
        for stage, counts in counters.items()
        if stage != "ingest"
        for reason, n in _reasons(counts)
    ]
    return tuple(found)


def _reasons(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    reasons = [(name.removeprefix("removed."), n) for name, n in counts.items() if name.startswith("removed.")]
    return sorted(reasons, key=lambda item: (-item[1], item[0]))


def _quarantined(
    tables: Tables, counters: Mapping[str, Mapping[str, int]], card: DataCardConfig
) -> tuple[Removed, ...]:
    drawn = quarantined(tables, card.examples, card.excerpt_chars) if card.examples else {}
    return tuple(
        Removed("ingest", reason, n, tuple(drawn.get(reason, ()))) for reason, n in _reasons(counters.get("ingest", {}))
    )


def _edits(tables: Tables) -> tuple[tuple[str, str, int, int], ...]:
    found: list[tuple[str, str, int, int]] = []
    for stage in ("clean", "deduplicate", "decontaminate"):
        if tables.has(stage, "edits"):
            found += [
                (stage, row["change"], row["times"], row["documents"])
                for row in tables.rows(
                    "SELECT e.key AS change, sum(e.value)::BIGINT AS times, count(*) AS documents "
                    f"FROM (SELECT unnest(map_entries(changes)) AS e FROM {tables.scan(stage, 'edits')}) "
                    "GROUP BY 1 ORDER BY 2 DESC, 1"
                )
            ]
    return tuple(found)


def _duplicates(tables: Tables, card: DataCardConfig) -> Duplicates:
    if not tables.has("deduplicate", "duplicates"):
        return Duplicates()
    table = tables.scan("deduplicate", "duplicates")
    counts = {
        row["reason"]: row["n"] for row in tables.rows(f"SELECT reason, count(*) AS n FROM {table} GROUP BY reason")
    }
    clusters = (
        "(SELECT cluster, any_value(representative) AS representative, max(cluster_size) AS size "
        f"FROM {table} WHERE reason <> 'contained' GROUP BY cluster)"  # a part of a text isn't a copy of it
    )
    sizes = []
    for low, high in CLUSTER_SIZES:
        bound = f"AND size <= {high}" if high else ""
        n = tables.rows(f"SELECT count(*) AS n FROM {clusters} WHERE size >= {low} {bound}")[0]["n"]
        sizes.append((str(low) if low == high else f"{low} to {high}" if high else f"over {low - 1}", n))
    largest = tables.rows(
        f"SELECT size, representative FROM {clusters} ORDER BY size DESC, representative LIMIT {card.examples}"
    )
    texts = beginnings(tables, "deduplicate", [row["representative"] for row in largest], card.excerpt_chars)
    return Duplicates(
        exact=counts.get("exact", 0),
        near=counts.get("near", 0),
        contained=counts.get("contained", 0),
        in_index=sum(n for reason, n in counts.items() if reason.startswith("index")),
        clusters=sum(n for _, n in sizes),
        cluster_sizes=tuple((name, n) for name, n in sizes if n),
        largest=tuple(
            (
                row["size"],
                row["representative"],
                texts.get(row["representative"], (0, "in an index of earlier documents"))[1],
            )
            for row in largest
        ),
        closest_calls=duplicate_pairs(tables, card.examples, card.excerpt_chars, by="similarity"),
        drawn=duplicate_pairs(tables, card.examples, card.excerpt_chars, by="draw"),
    )


def _contamination(tables: Tables, card: DataCardConfig) -> tuple[Contamination, ...]:
    if not tables.has("decontaminate", "contamination"):
        return ()
    found = tables.rows(
        f"SELECT benchmark, action, count(DISTINCT ({COPY})) AS documents, count(DISTINCT example) AS examples, "
        "arg_min({doc_id: doc_id, example: example, matched: matched_text}, md5(concat_ws('/', doc_id, example)), "
        f"{max(1, card.examples)}) AS drawn FROM {tables.scan('decontaminate', 'contamination')} "
        "GROUP BY benchmark, action ORDER BY benchmark, action"
    )
    return tuple(
        Contamination(
            row["benchmark"],
            row["action"],
            row["documents"],
            row["examples"],
            tuple((one["doc_id"], one["example"], one["matched"]) for one in row["drawn"][: card.examples]),
        )
        for row in found
    )


def said(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Stage to what its configuration says beyond the defaults, flat: ``{"select": {"language.keep": ["en"]}}``. Where
    files lie is no part of a recipe."""
    told: dict[str, dict[str, Any]] = {}
    for stage in Recipe.model_fields:
        config = getattr(recipe, stage)
        if config is not None:
            told[stage] = dict(_flat(_without_places(config), ""))
    return told


def _without_places(config: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(config, BaseModel):
        fields = type(config).model_fields
        elsewhere: frozenset[str] = getattr(type(config), "FILE_FIELDS", frozenset())
        return {
            name: _without_places(getattr(config, name))
            for name in fields
            if name not in elsewhere and getattr(config, name) != fields[name].get_default(call_default_factory=True)
        }
    if isinstance(config, Mapping):
        return {key: _without_places(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_without_places(item) for item in config]
    return config


def _flat(value: Any, at: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [found for key, item in value.items() for found in _flat(item, f"{at}.{key}" if at else str(key))]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        named = {str(item.get("name", number)): item for number, item in enumerate(value)}
        unnamed = {name: {k: v for k, v in item.items() if k != "name"} for name, item in named.items()}
        return _flat(unnamed, at)
    return [(at, value)] if at else []


def _versions(tables: Tables) -> dict[str, str]:
    from data_tools.schema import SCHEMA_VERSION

    versions = {"schema of the tables": str(SCHEMA_VERSION)}
    if tables.has("select", "verdicts"):
        rules = tables.rows(f"SELECT DISTINCT rule_version AS v FROM {tables.scan('select', 'verdicts')} ORDER BY 1")
        versions["rules of select"] = ", ".join(str(row["v"]) for row in rules)
    return versions
