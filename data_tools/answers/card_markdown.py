"""The data card as Markdown: for Prefect's page, a repository, a dataset hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from data_tools.answers import card_wording as say
from data_tools.answers.card_facts import CardFacts, Removed
from data_tools.answers.pairs import DuplicatePair

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def markdown(facts: CardFacts) -> str:
    """The whole page."""
    sections = [_corpus, _sources, _funnel, _removed, _duplicates, _edits, _quarantine, _contamination, _recipe]
    parts = [f"# {escape(facts.title)}"]
    if facts.about:
        parts.append(facts.about.strip())
    parts.append(table(["", ""], [[f"**{number}**", what] for number, what in say.summary(facts) if number]))
    for section in sections:
        parts += section(facts)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text of a document on one line, in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """``numbers`` are the columns that are set right."""
    lines = [f"| {' | '.join(heads)} |"]
    lines.append("|" + "|".join(" ---: " if column in numbers else " --- " for column in range(len(heads))) + "|")
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _corpus(facts: CardFacts) -> Iterator[str]:
    yield "## What it is"
    yield f"{say.lengths_in_words(facts)} {say.tokens_in_words(facts)}"
    yield table(
        ["split", "what for", "documents", "text"],
        [[s.name, say.SPLIT_USES[s.name], say.count(s.documents), say.size(s.bytes)] for s in facts.splits],
        (2, 3),
    )
    yield table(
        ["language", "documents", "text", "share of text"],
        [
            [escape(s.name), say.count(s.documents), say.size(s.bytes), say.percent(s.bytes, facts.bytes)]
            for s in facts.languages
        ],
        (1, 2, 3),
    )
    yield table(
        ["length", "documents", "text"],
        [[say.octave(s.name), say.count(s.documents), say.size(s.bytes)] for s in facts.lengths],
        (1, 2),
    )
    if facts.hosts:
        yield table(
            ["host", "documents", "text"],
            [[escape(s.name), say.count(s.documents), say.size(s.bytes)] for s in facts.hosts],
            (1, 2),
        )


def _sources(facts: CardFacts) -> Iterator[str]:
    yield "## Sources"
    rows = [
        [
            escape(s.name),
            s.kind,
            escape(", ".join(s.licenses)) or "not stated",
            say.count(s.documents_read),
            say.count(s.documents),
            say.size(s.bytes),
            say.percent(s.bytes, facts.bytes),
            f"{s.rows / s.documents:.2f}" if s.documents else "",
        ]
        for s in facts.sources
    ]
    heads = ["source", "kind", "license", "documents read", "in the corpus", "text", "share", "repetitions"]
    yield table(heads, rows, (3, 4, 5, 6, 7))


def _funnel(facts: CardFacts) -> Iterator[str]:
    yield "## From raw to clean"
    yield "Several reasons can apply to one document, so they may add up to more than was removed."
    yield table(
        ["stage", "documents", "text", "removed", "why"],
        [
            [
                f"{row['stage']} ({row['step']})",
                say.count(int(row["documents"])),
                say.size(int(row["bytes"])),
                say.count(int(row["removed"])),
                escape(str(row["reasons"])),
            ]
            for row in facts.funnel
        ],
        (1, 2, 3),
    )
    if len(facts.sources_by_stage) > 1:
        stages = list(next(iter(facts.sources_by_stage.values())))
        yield "Documents of each source that each stage left:"
        yield table(
            ["source", *stages],
            [
                [escape(source), *(say.count(counts[stage].documents) for stage in stages)]
                for source, counts in facts.sources_by_stage.items()
            ],
            range(1, len(stages) + 1),
        )


def _removed(facts: CardFacts) -> Iterator[str]:
    yield "## What was removed, and why"
    if not facts.removed:
        yield "Nothing."
    for stage, removed in say.by_stage(facts.removed).items():
        yield f"### {stage}"
        for one in removed:
            yield _reason(one)


def _reason(one: Removed) -> str:
    lines = [f"**{escape(say.reason_name(one.reason))}** ({say.count(one.documents)} documents)"]
    for example in one.examples:
        place = f"{escape(example.source)}/{escape(example.source_id)}"
        known = ", ".join(f"{name} {say.measured(value)}" for name, value in example.signals.items())
        note = "; ".join(escape(part) for part in (known, example.note) if part)
        lines.append(f"- {place}{f' ({note})' if note else ''}: {escape(example.beginning) or '(no text)'}")
    return "\n".join(lines[:1] + ([""] if len(lines) > 1 else []) + lines[1:])


def _duplicates(facts: CardFacts) -> Iterator[str]:
    found = facts.duplicates
    yield "## Duplicates"
    yield (
        f"{say.count(found.exact)} exact copies and {say.count(found.near)} near copies were removed"
        + (f", and {say.count(found.contained)} that stand in a longer document" if found.contained else "")
        + (f", and {say.count(found.in_index)} that an index of earlier documents has" if found.in_index else "")
        + f": {say.count(found.clusters)} texts had copies. Each near copy was compared with the text that stays in "
        "its place; similarity is that of their sets of word sequences (Jaccard)."
    )
    if found.cluster_sizes:
        yield table(["copies of one text", "texts"], [[n, say.count(c)] for n, c in found.cluster_sizes], (1,))
    if found.largest:
        yield "Most copied:"
        yield table(
            ["copies", "document", "beginning"],
            [[say.count(n), f"`{doc_id[:12]}`", escape(text)] for n, doc_id, text in found.largest],
            (0,),
        )
    for title, pairs in (("Removed at the lowest similarity", found.closest_calls), ("Drawn at random", found.drawn)):
        if pairs:
            yield f"### {title}"
            for pair in pairs:
                yield _pair(pair)


def _pair(pair: DuplicatePair) -> str:
    removed = f"removed: {escape(pair.source)}/{escape(pair.source_id)}"
    kept = f"kept: {escape(pair.representative_source) or 'in an index'}"
    rows = [["begins", escape(pair.beginning), escape(pair.representative_beginning)]]
    if pair.parts_at:
        rows.append(["differs", escape(pair.difference), escape(pair.representative_difference)])
    return table([f"similarity {say.similarity(pair.similarity)}", removed, kept], rows)


def _edits(facts: CardFacts) -> Iterator[str]:
    if facts.edits:
        yield "## What was edited"
        yield say.EDITS_IN_WORDS
        yield table(
            ["stage", "what", "times", "documents"],
            [[stage, escape(what), say.count(times), say.count(n)] for stage, what, times, n in facts.edits],
            (2, 3),
        )


def _quarantine(facts: CardFacts) -> Iterator[str]:
    yield "## What could not be read"
    if not facts.quarantined:
        yield "Every record could be read."
    for one in facts.quarantined:
        yield _reason(one)


def _contamination(facts: CardFacts) -> Iterator[str]:
    yield "## Evaluation sets"
    if "decontaminate" not in facts.recipe:
        yield "The documents were not compared with any evaluation set."
        return
    if not facts.contamination:
        yield "No document shares text with the evaluation sets."
        return
    yield table(
        ["benchmark", "what was done", "documents", "examples met", "for example"],
        [
            [
                escape(one.benchmark),
                one.action,
                say.count(one.documents),
                say.count(one.examples),
                "; ".join(f"{escape(example)}: {escape(text)}" for _, example, text in one.matched),
            ]
            for one in facts.contamination
        ],
        (2, 3),
    )


def _recipe(facts: CardFacts) -> Iterator[str]:
    yield "## Recipe"
    yield "What the configuration says beyond the defaults."
    lines = []
    for stage, settings in facts.recipe.items():
        lines.append(f"{stage}:" + ("" if settings else "  # defaults"))
        lines += [f"  {name}: {say.setting(value)}" for name, value in settings.items()]
    yield "```yaml\n" + "\n".join(lines).replace("```", "'''") + "\n```"
    yield ", ".join(f"{name}: {version}" for name, version in facts.versions.items()) + "."
