"""`groundup why`, `funnel` and `data`: what happened to the documents, asked of the tables that the stages wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.workspace import WorkspaceOption, newest_artifact, open_workspace

if TYPE_CHECKING:
    from data_tools.answers.removals import Example
    from data_tools.answers.tables import Tables
    from data_tools.answers.why import Story
    from data_tools.config import SelectConfig
    from flows.lineage.manifest import Manifest
    from flows.lineage.tree import LineageNode

app = typer.Typer(no_args_is_help=True, help="Look at the documents: samples, thresholds, the data card.")

#: Where a chain of data stages may end, the last first.
ENDS = ("data_card", "mix", "decontaminate", "deduplicate", "clean", "select", "annotate", "ingest")

FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="REF",
        help="Which artifact's documents: a stage, stage/fingerprint or a folder. Default: the latest of all.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def chain_of(workspace: Path, reference: str | None) -> dict[str, tuple[Path, Manifest]]:
    """Stage to folder and manifest, for all that one artifact was made from, itself included: artifacts that belong
    together, whatever else the workspace holds.

    Raises:
        UserError: nothing was made here yet, or nothing that ``reference`` could mean.
    """
    from flows.lineage.store import Store

    ref = reference if reference is not None else str(newest_artifact(workspace, *ENDS)[0])
    found: dict[str, tuple[Path, Manifest]] = {}

    def collect(node: LineageNode) -> None:
        if node.manifest is not None and node.path is not None:
            found.setdefault(node.stage, (node.path, node.manifest))
        for below in node.inputs:
            collect(below)

    collect(Store(workspace).lineage(ref))
    return {stage: found[stage] for stage in reversed(ENDS) if stage in found}


def open_tables(chain: Mapping[str, tuple[Path, Manifest]]) -> Tables:
    """The tables of a chain.

    Raises:
        UserError: ingest's are gone, without which no document can be followed.
    """
    from data_tools.answers.tables import Tables
    from flows.errors import UserError

    if "ingest" not in chain:
        raise UserError("the artifact of ingest isn't there", fix="`groundup run` makes it again")
    return Tables({stage: folder for stage, (folder, _) in chain.items()})


def select_config(chain: Mapping[str, tuple[Path, Manifest]]) -> SelectConfig | None:
    """The thresholds that the documents were judged by; None if this code can't read them any more."""
    from pydantic import ValidationError

    from data_tools.config import SelectConfig

    if "select" not in chain:
        return None
    try:
        return SelectConfig.model_validate(chain["select"][1].config)
    except ValidationError:
        return None


def why(
    document: Annotated[
        str, typer.Argument(metavar="DOC_ID", help="An id, its first digits (4 or more), or source/source_id.")
    ],
    reference: FromOption = None,
    workspace: WorkspaceOption = None,
    all_checks: Annotated[bool, typer.Option("--all", help="Every signal, not only those that failed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what happened to one document: where it came from, what was measured, who removed or edited it and why."""
    from data_tools.answers.why import why as ask

    chain = chain_of(open_workspace(workspace), reference)
    with open_tables(chain) as tables:
        answer = ask(tables, document, select_config(chain))
    if as_json:
        print_json(answer)
        return
    for row in answer.quarantined:
        _print_quarantined(row)
    for number, story in enumerate(answer.stories):
        if number:
            print()
        _print_story(story, all_checks)
    if answer.copies > len(answer.stories):
        print(f"\nand {answer.copies - len(answer.stories):,} more copies of this text.")


def _print_story(story: Story, all_checks: bool) -> None:
    from rich.text import Text

    from flows.display import wide_console
    from flows.wording import clean, show_number

    console = wide_console()
    copy = story.copy
    console.print(Text.assemble((copy.doc_id, "bold"), f"  {clean(copy.source)}/{clean(copy.source_id)}"))
    known = {"url": story.url, "license": story.license} | story.metadata
    for name, value in known.items():
        if value:
            console.print(Text(f"  {clean(name)}: {clean(str(value))[:200]}", style="dim"))
    console.print(Text(f"  {clean(story.beginning)}", style="italic"))
    console.print()
    for step in story.steps:
        style = "" if step.stays else "bold red"
        console.print(Text.assemble((f"{step.stage:<15}", "bold"), (clean(step.outcome), style)))
        shown = [check for check in step.checks if all_checks or check.failed]
        for check in shown:
            value = show_number(check.value) if isinstance(check.value, int | float) else str(check.value)
            line = f"{'':<15}{check.signal:<28} {value:>10}   wanted {check.wanted}"
            console.print(
                Text(f"{line:<80} {check.reason}" if check.failed else line, style="" if check.failed else "dim")
            )
        if len(shown) < len(step.checks):
            passed = sum(not check.failed for check in step.checks)
            console.print(Text(f"{'':<15}{passed} of {len(step.checks)} tests passed (--all shows them)", style="dim"))
        for line in step.details:
            console.print(Text(f"{'':<15}{clean(line)}", style="dim"))
        if step.pair is not None:
            pair = step.pair
            console.print(Text(f"{'':<15}this one: {clean(pair.beginning)}"))
            console.print(Text(f"{'':<15}that one: {clean(pair.representative_beginning)}"))
            if pair.parts_at:
                console.print(Text(f"{'':<15}they part at character {pair.parts_at:,}:", style="dim"))
                console.print(Text(f"{'':<15}this one: {clean(pair.difference)}"))
                console.print(Text(f"{'':<15}that one: {clean(pair.representative_difference)}"))


def _print_quarantined(row: Mapping[str, Any]) -> None:
    from flows.wording import clean

    print(
        f"{clean(row['source'])}/{clean(row['file'])}, {clean(row['position'])}: quarantined by ingest, {row['reason']}"
    )
    if row["detail"]:
        print(f"  {clean(row['detail'])}")
    print(f"  {clean(row['excerpt'])[:300]}")


def funnel(
    reference: FromOption = None,
    workspace: WorkspaceOption = None,
    by_source: Annotated[bool, typer.Option("--by-source", help="Source by source.")] = False,
) -> None:
    """Show how many documents each data stage kept, and why the others left."""
    from rich.table import Table
    from rich.text import Text

    from data_tools.funnel import funnel as rows_of
    from flows.display import wide_console

    chain = chain_of(open_workspace(workspace), reference)
    counters = {stage: manifest.counters for stage, (_, manifest) in chain.items()}
    if by_source:
        _print_by_source(counters)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("stage", "documents", "MB", "removed"):
        table.add_column(column, no_wrap=True, justify="left" if column == "stage" else "right")
    table.add_column("why (several can apply)")
    for row in rows_of(counters):
        stage = Text.assemble((str(row["stage"]), "bold"), (f" {row['step']}", "dim"))
        removed = f"{row['removed']:,}" if row["removed"] else ""
        table.add_row(stage, f"{row['documents']:,}", f"{int(row['bytes']) / 1e6:,.1f}", removed, str(row["reasons"]))
    wide_console().print(table)


def _print_by_source(counters: Mapping[str, Mapping[str, int | float | str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from data_tools.funnel import by_source
    from flows.display import wide_console

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("source", "stage", "documents", "MB"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("source", "stage") else "right")
    table.add_column("removed, and why (several can apply)")
    for source, stages in by_source(counters).items():
        name = source
        for stage, counts in stages.items():
            ordered = sorted(counts.removed.items(), key=lambda item: (-item[1], item[0]))
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in ordered)
            table.add_row(
                Text(name, "bold"), stage, f"{counts.documents:,}", f"{counts.bytes / 1e6:,.1f}", Text(reasons)
            )
            name = ""
    wide_console().print(table)


@app.command()
def sample(
    reason: Annotated[
        str | None,
        typer.Option("--reason", "-r", help="As the funnel names it: gopher/short; gopher for all of that rule set."),
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Documents that stayed, instead.")] = False,
    stage: Annotated[str | None, typer.Option("--stage", help="Of this stage only.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Of this source only.")] = None,
    number: Annotated[int, typer.Option("-n", "--n", min=1, max=10_000, help="How many.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws others.")] = 0,
    chars: Annotated[int, typer.Option("--chars", min=20, max=1_000_000, help="Of each beginning.")] = 300,
    reference: FromOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show documents that were removed, edited or quarantined for a reason (or that stayed), drawn at random, the same
    ones every time. Without --reason: the reasons that there are."""
    from data_tools.answers import sample as draw
    from flows.errors import UserError

    if kept and reason is not None:
        raise UserError("--kept and --reason exclude each other", fix="a document that stayed has no reason")
    with open_tables(chain_of(open_workspace(workspace), reference)) as tables:
        if kept:
            found = {("", ""): draw.kept(tables, stage=stage, source=source, n=number, seed=seed, chars=chars)}
        elif reason is not None:
            found = draw.sample(tables, reason, stage=stage, source=source, n=number, seed=seed, chars=chars)
        else:
            _print_reasons(draw.reasons(tables))
            return
    if as_json:
        print_json([{"stage": s, "reason": r, "examples": examples} for (s, r), examples in found.items()])
        return
    for (where, why_), examples in found.items():
        _print_examples(f"{why_} ({where})" if why_ else "", examples)


def _print_reasons(reasons: Sequence[tuple[str, str, int]]) -> None:
    from rich.table import Table

    from flows.display import wide_console

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("stage", "reason", "documents"):
        table.add_column(column, no_wrap=True, justify="right" if column == "documents" else "left")
    for stage, reason, n in reasons:
        table.add_row(stage, reason, f"{n:,}")
    wide_console().print(table)


def _print_examples(title: str, examples: Sequence[Example]) -> None:
    from rich.text import Text

    from flows.display import wide_console
    from flows.wording import clean, show_number

    console = wide_console()
    if title:
        console.print(Text(title, style="bold"))
    for one in examples:
        size = f"  {one.n_bytes:,} bytes" if one.n_bytes is not None else ""
        signals = ", ".join(
            f"{name} {show_number(value) if isinstance(value, int | float) else value}"
            for name, value in one.signals.items()
        )
        place = f"{clean(one.source)}/{clean(one.source_id)}"
        told = Text.assemble((f"{one.doc_id} " if one.doc_id else "", "cyan"), place, (f"{size}  {signals}", "dim"))
        console.print(told)
        console.print(Text(f"  {clean(one.beginning)}"))
        if one.note:
            console.print(Text(f"  {clean(one.note)}", style="dim"))
    console.print()


@app.command()
def card(
    reference: FromOption = None,
    workspace: WorkspaceOption = None,
    show: Annotated[bool, typer.Option("--print", help="Print it, as Markdown.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Say where the data card is: what the corpus is, where it came from, what was removed and why."""
    from flows.commands.summary import shorter
    from flows.errors import UserError

    chain = chain_of(open_workspace(workspace), reference)
    if "data_card" not in chain:
        raise UserError("no data card was written of these documents", fix="`groundup run` writes one after mix")
    folder = chain["data_card"][0]
    if show:
        print((folder / "data_card.md").read_text(encoding="utf-8"), end="")
        return
    for name in ("data_card.html", "data_card.md", "data_card.json"):
        print(shorter(folder / name))
    if open_it:
        import webbrowser

        webbrowser.open((folder / "data_card.html").as_uri())


def print_json(value: Any) -> None:
    """An answer as JSON, whatever dataclasses are in it."""
    import dataclasses
    import json

    def plain(item: Any) -> Any:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return dataclasses.asdict(item)
        raise TypeError(f"a {type(item).__name__} in an answer")

    print(json.dumps(value, default=plain, indent=1, ensure_ascii=False))
