"""The data card as one HTML file: no script, nothing from elsewhere, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from data_tools.answers import card_wording as say
from data_tools.answers.card_facts import CardFacts, Removed, Share
from data_tools.answers.card_style import STYLE
from data_tools.answers.pairs import DuplicatePair


def html(facts: CardFacts) -> str:
    """The whole page."""
    sections = {
        "corpus": ("What it is", _corpus),
        "sources": ("Sources", _sources),
        "funnel": ("From raw to clean", _funnel),
        "removed": ("What was removed, and why", _removed),
        "duplicates": ("Duplicates", _duplicates),
        "edits": ("What was edited", _edits),
        "quarantine": ("What could not be read", _quarantine),
        "benchmarks": ("Evaluation sets", _contamination),
        "recipe": ("Recipe", _recipe),
    }
    bodies = {key: "\n".join(write(facts)) for key, (_, write) in sections.items()}
    links = " ".join(f'<a href="#{key}">{escape(sections[key][0])}</a>' for key, body in bodies.items() if body)
    about = "".join(f"<p>{escape(part)}</p>" for part in facts.about.split("\n\n") if part.strip())
    tiles = "".join(
        f"<div><strong>{escape(number)}</strong><span>{escape(what)}</span></div>"
        for number, what in say.summary(facts)
        if number
    )
    main = "\n".join(
        f'<section id="{key}"><h2>{escape(sections[key][0])}</h2>\n{body}</section>'
        for key, body in bodies.items()
        if body
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(facts.title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body><header><h1>{escape(facts.title)}</h1>{about}\n<div class=tiles>{tiles}</div>\n"
        f"<nav>{links}</nav></header>\n"
        f"<main>{main}</main></body></html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """``rows`` are cells of HTML; ``numbers`` are the columns that are set right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if n in numbers else ''}>{cell}</{tag}>" for n, cell in enumerate(row))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table></div>"


def bar(share: float) -> str:
    """A bar of 0 to 100 % of its cell."""
    return f'<span class=bar><i style="width:{100 * min(1.0, max(0.0, share)):.2f}%"></i></span>'


def excerpt(text: str) -> str:
    """The beginning of a document, in its own direction, without blank lines."""
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    return f'<q dir="auto">{escape(lines)}</q>' if lines else "<q>(no text)</q>"


def _corpus(facts: CardFacts) -> Iterator[str]:
    yield f"<p>{escape(say.lengths_in_words(facts))} {escape(say.tokens_in_words(facts))}</p>"
    yield "<div class=columns>"
    yield "<div><h3>Splits</h3>" + _shares(facts.splits, facts.bytes) + "</div>"
    yield "<div><h3>Languages</h3>" + _shares(facts.languages, facts.bytes) + "</div>"
    if facts.hosts:
        yield "<div><h3>Hosts</h3>" + _shares(facts.hosts, facts.bytes) + "</div>"
    yield "</div>"
    most = max((share.documents for share in facts.lengths), default=1)
    yield "<h3>Lengths</h3>" + table(
        ["length", "documents", "", "text"],
        [
            [say.octave(s.name), say.count(s.documents), bar(s.documents / most), say.size(s.bytes)]
            for s in facts.lengths
        ],
        (0, 1, 3),
    )


def _shares(shares: Sequence[Share], whole: int) -> str:
    return table(
        ["", "documents", "text", ""],
        [
            [escape(s.name), say.count(s.documents), say.size(s.bytes), bar(s.bytes / whole if whole else 0)]
            for s in shares
        ],
        (1, 2),
    )


def _sources(facts: CardFacts) -> Iterator[str]:
    yield table(
        ["source", "kind", "license", "read", "in the corpus", "text", "share", "", "repetitions"],
        [
            [
                escape(s.name),
                escape(s.kind),
                escape(", ".join(s.licenses)) or "<em>not stated</em>",
                say.count(s.documents_read),
                say.count(s.documents),
                say.size(s.bytes),
                say.percent(s.bytes, facts.bytes),
                bar(s.bytes / facts.bytes if facts.bytes else 0),
                f"{s.rows / s.documents:.2f}" if s.documents else "",
            ]
            for s in facts.sources
        ],
        (3, 4, 5, 6, 8),
    )


def _funnel(facts: CardFacts) -> Iterator[str]:
    most = max((int(row["documents"]) + int(row["removed"]) for row in facts.funnel), default=1) or 1
    yield "<p>Several reasons can apply to one document, so they may add up to more than was removed.</p>"
    yield table(
        ["stage", "documents", "", "text", "removed", "why"],
        [
            [
                f"{escape(str(row['stage']))} <small>{escape(str(row['step']))}</small>",
                say.count(int(row["documents"])),
                bar(int(row["documents"]) / most),
                say.size(int(row["bytes"])),
                say.count(int(row["removed"])) if row["removed"] else "",
                f"<small>{escape(_first_reasons(facts, str(row['stage'])))}</small>",
            ]
            for row in facts.funnel
        ],
        (1, 3, 4),
    )
    if len(facts.sources_by_stage) > 1:
        stages = list(next(iter(facts.sources_by_stage.values())))
        yield (
            "<details><summary>Source by source</summary>"
            + table(
                ["source", *stages],
                [
                    [escape(source), *(say.count(counts[stage].documents) for stage in stages)]
                    for source, counts in facts.sources_by_stage.items()
                ],
                range(1, len(stages) + 1),
            )
            + "</details>"
        )


def _first_reasons(facts: CardFacts, stage: str, most: int = 4) -> str:
    """The most frequent ones; the section below has all of them."""
    told = [
        f"{one.reason} {say.count(one.documents)}" for one in facts.quarantined + facts.removed if one.stage == stage
    ]
    return ", ".join(told[:most]) + (f" and {len(told) - most} more" if len(told) > most else "")


def _removed(facts: CardFacts) -> Iterator[str]:
    if not facts.removed:
        yield "<p>Nothing.</p>"
    for stage, removed in say.by_stage(facts.removed).items():
        most = max(one.documents for one in removed)
        yield f"<h3>{escape(stage)}</h3>"
        yield from (_reason(one, most) for one in removed)


def _reason(one: Removed, most: int) -> str:
    head = (
        f"<b>{escape(say.reason_name(one.reason))}</b><span class=n>{say.count(one.documents)}</span>"
        f"{bar(one.documents / most if most else 0)}"
    )
    if not one.examples:
        return f"<p class=reason>{head}</p>"
    shown = []
    for example in one.examples:
        known = [f"{name} {say.measured(value)}" for name, value in example.signals.items()]
        notes = [escape(part) for part in (*known, example.note) if part]
        size = f", {say.size(example.n_bytes)}" if example.n_bytes is not None else ""
        shown.append(
            f"<li><small>{escape(example.source)}/{escape(example.source_id)}{size}"
            f"{''.join(f' · {note}' for note in notes)}</small>{excerpt(example.beginning)}</li>"
        )
    return f"<details><summary class=reason>{head}</summary><ul>{''.join(shown)}</ul></details>"


def _duplicates(facts: CardFacts) -> Iterator[str]:
    found = facts.duplicates
    parts = f", and {say.count(found.contained)} that stand in a longer document" if found.contained else ""
    index = f", and {say.count(found.in_index)} that an index of earlier documents has" if found.in_index else ""
    yield (
        f"<p>{say.count(found.exact)} exact copies and {say.count(found.near)} near copies were removed{parts}{index}: "
        f"{say.count(found.clusters)} texts had copies. Each near copy was compared with the text that stays in its "
        "place; similarity is that of their sets of word sequences (Jaccard).</p>"
    )
    if found.cluster_sizes:
        most = max(n for _, n in found.cluster_sizes)
        yield (
            "<div class=columns><div><h3>Copies of one text</h3>"
            + table(
                ["copies", "texts", ""],
                [[name, say.count(n), bar(n / most)] for name, n in found.cluster_sizes],
                (0, 1),
            )
            + "</div></div>"
        )
    if found.largest:
        yield "<h3>Most copied</h3>" + table(
            ["copies", "document", "beginning"],
            [[say.count(n), f"<code>{doc_id[:12]}</code>", excerpt(text)] for n, doc_id, text in found.largest],
            (0,),
        )
    for title, pairs in (("Removed at the lowest similarity", found.closest_calls), ("Drawn at random", found.drawn)):
        if pairs:
            yield f"<h3>{title}</h3>"
            yield from map(_pair, pairs)


def _pair(pair: DuplicatePair) -> str:
    def side(verb: str, place: str, beginning: str, difference: str) -> str:
        parts = (
            f"<small>where they part, at character {pair.parts_at:,}</small>{excerpt(difference)}"
            if pair.parts_at
            else ""
        )
        return f"<div><small>{verb} <b>{escape(place)}</b></small>{excerpt(beginning)}{parts}</div>"

    kept = pair.representative_source or f"in an index ({pair.representative[:12]})"
    return (
        f"<div class=pair><p>similarity <b>{say.similarity(pair.similarity)}</b>, {say.count(pair.cluster_size)} copies"
        f"</p>{side('removed', f'{pair.source}/{pair.source_id}', pair.beginning, pair.difference)}"
        f"{side('kept', kept, pair.representative_beginning, pair.representative_difference)}</div>"
    )


def _edits(facts: CardFacts) -> Iterator[str]:
    if facts.edits:
        yield f"<p>{escape(say.EDITS_IN_WORDS)}</p>"
        yield table(
            ["stage", "what", "times", "documents"],
            [[stage, escape(what), say.count(times), say.count(n)] for stage, what, times, n in facts.edits],
            (2, 3),
        )


def _quarantine(facts: CardFacts) -> Iterator[str]:
    if not facts.quarantined:
        yield "<p>Every record could be read.</p>"
    most = max((one.documents for one in facts.quarantined), default=1)
    yield from (_reason(one, most) for one in facts.quarantined)


def _contamination(facts: CardFacts) -> Iterator[str]:
    if "decontaminate" not in facts.recipe:
        yield "<p>The documents were not compared with any evaluation set.</p>"
    elif not facts.contamination:
        yield "<p>No document shares text with the evaluation sets.</p>"
    else:
        yield table(
            ["benchmark", "what was done", "documents", "examples met", "for example"],
            [
                [
                    escape(one.benchmark),
                    escape(one.action),
                    say.count(one.documents),
                    say.count(one.examples),
                    "".join(f"<small>{escape(example)}</small>{excerpt(text)}" for _, example, text in one.matched),
                ]
                for one in facts.contamination
            ],
            (2, 3),
        )


def _recipe(facts: CardFacts) -> Iterator[str]:
    yield "<p>What the configuration says beyond the defaults.</p>"
    lines = []
    for stage, settings in facts.recipe.items():
        lines.append(f"<b>{escape(stage)}</b>:" + ("" if settings else " <i># defaults</i>"))
        lines += [f"  {escape(name)}: {escape(say.setting(value))}" for name, value in settings.items()]
    yield "<pre>" + "\n".join(lines) + "</pre>"
    yield (
        "<p><small>"
        + escape(", ".join(f"{name}: {version}" for name, version in facts.versions.items()))
        + "</small></p>"
    )
