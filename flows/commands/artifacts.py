"""`groundup lineage`, `runs` and `gc`: what is in a workspace, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.workspace import WorkspaceOption, newest_artifact, open_workspace

if TYPE_CHECKING:
    from rich.tree import Tree

    from flows.lineage.tree import LineageNode

#: Without a reference, the latest artifact of the first of these: the end of the chain, or how far it got.
LAST_STAGES = (
    *("evaluate", "assistant", "classifier", "pretrain", "shards", "tokenizer", "data_card", "mix", "ingest"),
)


def lineage(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]",
            help="A stage (its latest artifact), stage/fingerprint, the beginning of a fingerprint, or a folder. "
            "Default: the end of the chain.",
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Show what an artifact was made from, down to the hashes of the source files."""

    from flows.display import wide_console
    from flows.lineage.store import Store

    folder = open_workspace(workspace)
    if ref is None:
        ref = str(newest_artifact(folder, *LAST_STAGES)[0])
    wide_console().print(lineage_tree(Store(folder).lineage(ref)))


def lineage_tree(node: LineageNode) -> Tree:
    """The tree for people. What several branches share is drawn once."""
    from rich.text import Text
    from rich.tree import Tree

    from flows.lineage.manifest import SOURCE
    from flows.wording import show_counters, show_seconds

    drawn: set[tuple[str, str]] = set()

    def label(node: LineageNode, *, again: bool) -> Text:
        if node.stage == SOURCE:
            return Text.assemble((node.name, "green"), (" sha256 ", "dim"), node.digest)
        line = Text.assemble((node.stage, "bold"), " ", (node.fingerprint[:12], "cyan"))
        if again:
            return line.append(" (as above)", "dim")
        if node.manifest is None:
            return line.append(" (no longer kept)", "yellow")
        seconds = (node.manifest.finished - node.manifest.started).total_seconds()
        told = show_counters(node.manifest.counters)
        made = f" {node.manifest.finished.astimezone():%Y-%m-%d %H:%M}, {show_seconds(seconds)}"
        return line.append(made + (f", {told}" if told else ""), "dim")

    def grow(tree: Tree, node: LineageNode) -> None:
        drawn.add((node.stage, node.fingerprint))
        for below in node.inputs:
            again = (below.stage, below.fingerprint) in drawn
            branch = tree.add(label(below, again=again))
            if not again:
                grow(branch, below)

    root = Tree(label(node, again=False), guide_style="dim")
    grow(root, node)
    return root


def runs(
    workspace: WorkspaceOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = 20,
) -> None:
    """List the runs of this workspace, the newest first."""
    from rich.table import Table

    from flows.display import wide_console
    from flows.run_record import all_runs
    from flows.wording import show_seconds

    folder = open_workspace(workspace)
    found = all_runs(folder)[::-1]
    if not found:
        print("No run yet. Start with: groundup run configs/quickstart.yaml")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("run", "name", "status", "began", "took", "stages"):
        table.add_column(column, no_wrap=True)
    for record in found[:limit]:
        took = show_seconds((record.finished - record.started).total_seconds()) if record.finished else ""
        counts: dict[str, int] = {}
        for stage in record.stages:
            counts[stage.status] = counts.get(stage.status, 0) + 1
        told = ", ".join(f"{number} {status}" for status, number in counts.items())
        began = record.started.astimezone().strftime("%Y-%m-%d %H:%M")
        killed = record.status == "running" and not record.is_alive()
        table.add_row(record.run_id, record.name, "killed" if killed else record.status, began, took, told)
    wide_console().print(table)


def gc(
    workspace: WorkspaceOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep_runs: Annotated[
        int | None, typer.Option(min=1, help="Keep what the newest of the runs need. Default: what any run needs.")
    ] = None,
) -> None:
    """Delete artifacts that no run needs any more, and unfinished work that nobody resumes."""
    from flows.lineage.store import Store

    folder = open_workspace(workspace)
    found = Store(folder).gc(dry_run=dry_run, keep_runs=keep_runs)
    for garbage in found:
        print(f"{garbage.bytes / 1e6:10,.1f} MB  {garbage.path.relative_to(folder)}  {garbage.why}")
    if not found:
        print("Nothing to delete.")
        return
    verb = "could be deleted" if dry_run else "deleted"
    print(f"{sum(garbage.bytes for garbage in found) / 1e6:10,.1f} MB in {len(found)} folders {verb}.")
