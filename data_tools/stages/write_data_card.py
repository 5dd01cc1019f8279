"""What the corpus is, where it came from, what was removed and why: one page for people, one file for programs.

Every number is counted again from the tables of the stages before. Memory is bounded by ``runtime.data.memory_mb``.
"""

from __future__ import annotations

from pathlib import Path

from data_tools.config import DataCardStage, DataRuntime
from data_tools.progress import Progress

Counters = dict[str, int | float | str]


def run(
    config: DataCardStage, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``data_card.md``, ``data_card.html`` (the same, self-contained) and ``data_card.json`` into ``out``.

    Args:
        inputs: the artifact of every data stage that the run has, by stage name; ``documents`` is that of mix.
    """
    from data_tools.answers.card_facts import gather
    from data_tools.answers.card_html import html
    from data_tools.answers.card_markdown import markdown
    from data_tools.answers.tables import Tables
    from data_tools.atomic_file import atomic_writer, write_json

    folders = {"mix" if name == "documents" else name: folder for name, folder in inputs.items()}
    progress(0, None, "counting")
    with Tables(folders, runtime, spill=out) as tables:
        facts = gather(tables, config.card, config.recipe)
    progress(1, 2, "writing")
    write_json(out / "data_card.json", facts.as_dict())
    for name, page in (("data_card.md", markdown(facts)), ("data_card.html", html(facts))):
        with atomic_writer(out / name) as file:
            file.write(page.encode())
    return {
        "documents": facts.documents,
        "bytes": facts.bytes,
        "estimated_tokens": facts.tokens,
        "sources": len(facts.sources),
        "languages": len(facts.languages),
    }
