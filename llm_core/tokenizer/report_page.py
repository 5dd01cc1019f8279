"""The tokenizer's report as a page (Markdown) and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_core.atomic import atomic_path
from llm_core.tokenizer.report import ALL

#: One line: Prefect's pages show every line break as one.
_MEANING = (
    "**Bytes per token** says how much text one token carries: twice as many, and the same text is half as long a "
    "sequence, which costs half the training and fits twice into the context. **Tokens per word** is the same "
    "seen from the language (words as whitespace separates them, so don't compare it across scripts that use "
    "none): a language with more tokens a word than others pays more for the same content and is learned from "
    "less. **Unknown** tokens are lost for good: a vocabulary of whole words has no entry for rare words, names "
    "and typing errors, one of characters none for rare characters. Byte-level BPE has no unknown, since each of "
    "the 256 bytes is a token and any text is made of bytes. Compare rows that are 'from the sample': they "
    "learned from the same text; ours learned from all of it."
)


def markdown(report: Mapping[str, Any]) -> str:
    """The page for ``report`` (as in ``report.json``)."""
    rows = report["comparison"]["rows"]
    parts = ["# Tokenizer", "", _first_words(report), "", "## Beside others", "", _MEANING, ""]
    if rows:
        parts += ["| tokenizer | entries | bytes per token | tokens per word | unknown | MB/s |"]
        parts += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
        parts += [
            f"| {row['tokenizer']} | {row['vocab_size']:,} | {row['bytes_per_token']:.2f} "
            f"| {row['tokens_per_word']:.2f} | {row['unknown_share']:.2%} | {row['megabytes_per_second']:.1f} |"
            for row in rows
            if row["language"] == ALL
        ]
        sample = report["comparison"]["sample_bytes"] / 1e6
        parts += [
            "",
            f"The sample has {sample:.2f} MB. MB/s: encoding, once, with the threads that each library takes.",
        ]
    parts += [f"- Not compared: {reason}." for reason in report["comparison"]["absent"]]
    languages = list(dict.fromkeys(row["language"] for row in rows if row["language"] != ALL))
    for title, value, form in (
        ("Bytes per token by language", "bytes_per_token", ".2f"),
        ("Tokens per word by language", "tokens_per_word", ".2f"),
        ("Unknown tokens by language", "unknown_share", ".2%"),
    ):
        if languages:
            parts += ["", f"## {title}", "", *_by_language(rows, languages, value, form)]
    parts += ["", "## How it cuts", ""]
    parts += [f"- {' · '.join(f'`{_shown(token)}`' for token in example)}" for example in report["examples"]]
    parts += ["", "Longest tokens: " + " · ".join(f"`{_shown(token)}`" for token in report["longest_tokens"])]
    return "\n".join(parts) + "\n"


def _first_words(report: Mapping[str, Any]) -> str:
    text = (
        f"{report['vocab_size']:,} entries, learned from {report['trained_on_bytes'] / 1e6:,.1f} MB of text. On "
        f"{report['bytes'] / 1e6:,.2f} MB that it has not seen: {report['bytes_per_token']:.2f} bytes per token, "
        f"{report['tokens_per_word']:.2f} tokens per word, {report['vocabulary_used']:.0%} of the entries occur."
    )
    return text if report["texts"] else text + " (No text is held out: the numbers are zero.)"


def _by_language(rows: list[dict[str, Any]], languages: list[str], value: str, form: str) -> list[str]:
    names = list(dict.fromkeys(row["tokenizer"] for row in rows))
    cells = {(row["tokenizer"], row["language"]): row[value] for row in rows}
    lines = ["| tokenizer | " + " | ".join(languages) + " |", "| --- |" + " ---: |" * len(languages)]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(format(cells[name, language], form) for language in languages) + " |")
    return lines


def _shown(token: str) -> str:
    """A token as one readable thing in a line of Markdown code."""
    return token.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥").replace(" ", "␣").replace("`", "ˋ")


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """Bytes per token and unknown share as bars, by language where there are several; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = report["comparison"]["rows"]
    names = list(dict.fromkeys(row["tokenizer"] for row in rows))
    languages = list(dict.fromkeys(row["language"] for row in rows))
    figure = Figure(figsize=(min(16.0, 6 + 1.2 * len(languages)), 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1, sharex=True)
    width = 0.8 / max(1, len(names))
    for panel, value, label in (
        (panels[0], "bytes_per_token", "bytes per token"),
        (panels[1], "unknown_share", "unknown tokens"),
    ):
        for number, name in enumerate(names):
            heights = {row["language"]: row[value] for row in rows if row["tokenizer"] == name}
            places = [at - 0.4 + (number + 0.5) * width for at in range(len(languages))]
            panel.bar(places, [heights[language] for language in languages], width, label=name)
        panel.set_ylabel(label)
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    panels[1].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panels[1].set_xticks(range(len(languages)), languages)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    return True
