"""`groundup data retune`: move a threshold and see what would change, without reading the texts or running anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.config import ConfigArgument, SetOption
from flows.commands.data import FromOption, JsonOption, chain_of, print_json, select_config
from flows.commands.workspace import WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rich.console import Console

    from data_tools.answers.retune import Amount, Retuned, Sample
    from data_tools.config import SelectConfig


def retune(
    config: ConfigArgument,
    overrides: SetOption = None,
    samples: Annotated[int, typer.Option("-n", "--n", min=0, max=1000, help="Documents shown of each kind.")] = 3,
    reference: FromOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the documents of this workspace again, by the `select` section of CONFIG (with --set), and show what would
    come and go, with documents from both sides of each line. Nothing is written; `groundup run` makes it so."""
    from data_tools.answers.retune import retune as judge_again
    from flows.config import load_config
    from flows.errors import UserError

    new = load_config(config, overrides or ())
    chain = chain_of(open_workspace(workspace), reference)
    missing = [stage for stage in ("ingest", "annotate", "select") if stage not in chain]
    old = select_config(chain)
    if missing or old is None:
        what = f"no finished {missing[0]} stage" if missing else "a select artifact of another version"
        raise UserError(f"this workspace has {what}", fix="`groundup run` makes it; then thresholds can be moved")
    inputs = {"documents": chain["ingest"][0], "signals": chain["annotate"][0]}
    found = judge_again(inputs, with_lists_of(old, new.select), new.select, samples, new.data_runtime())
    if as_json:
        print_json(found)
        return
    _print(found)


def with_lists_of(old: SelectConfig, new: SelectConfig) -> SelectConfig:
    """``old`` with the blocklists of ``new``: an artifact doesn't remember where they lie."""
    if old.url is None or new.url is None:
        return old
    return old.model_copy(update={"url": old.url.model_copy(update={"blocklists": new.url.blocklists})})


def _print(found: Retuned) -> None:
    from rich.table import Table
    from rich.text import Text

    from flows.display import wide_console

    console = wide_console()
    if not found.knobs:
        console.print("The configuration judges as the artifact was judged; move a threshold with --set select....")
    for knob in found.knobs:
        console.print(Text.assemble((knob.path, "bold"), f"  {_value(knob.before)} -> {_value(knob.after)}"))
    console.print(f"\nkept     {_amount(found.kept_before)} before, {_amount(found.kept_after)} after")
    console.print(f"dropped  {_amount(found.dropped)}{_reasons(found.dropped_by)}")
    console.print(f"rescued  {_amount(found.rescued)}{_reasons(found.rescued_from)}")
    changed = {reason: counts for reason, counts in found.reasons.items() if counts[0] != counts[1]}
    if changed:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("reason")
        for column in ("before", "after"):
            table.add_column(column, justify="right")
        for reason, (before, after) in changed.items():
            table.add_row(reason, f"{before:,}", f"{after:,}")
        console.print("\nDocuments that a reason applies to:")
        console.print(table)
    if len(found.sources) > 1:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("source")
        for column in ("dropped", "rescued"):
            table.add_column(column, justify="right")
        for source, (dropped, rescued) in found.sources.items():
            table.add_row(source, f"{dropped.documents:,}", f"{rescued.documents:,}")
        console.print("\nBy source:")
        console.print(table)
    _print_samples(console, "Would be dropped, for example", found.dropped_samples)
    _print_samples(console, "Would be rescued, for example", found.rescued_samples)
    for path, near in found.near.items():
        _print_samples(console, f"Next to the new {path}", near)


def _print_samples(console: Console, title: str, samples: Iterable[Sample]) -> None:
    from rich.text import Text

    from flows.wording import clean, show_number

    shown = list(samples)
    if not shown:
        return
    console.print(Text(f"\n{title}:", style="bold"))
    for one in shown:
        signals = ", ".join(
            f"{name} {show_number(value) if isinstance(value, int | float) else value}"
            for name, value in one.signals.items()
        )
        verdict = f"removed: {', '.join(one.reasons_after)}" if one.reasons_after else "kept"
        place = f"{clean(one.source)}/{clean(one.source_id)}"
        console.print(Text.assemble((f"{one.doc_id} ", "cyan"), place, (f"  {signals}  {verdict}", "dim")))
        console.print(Text(f"  {clean(one.excerpt)[:240]}"))


def _amount(amount: Amount) -> str:
    return f"{amount.documents:,} documents, {amount.n_bytes / 1e6:,.1f} MB"


def _reasons(amounts: dict[str, Amount]) -> str:
    ordered = sorted(amounts.items(), key=lambda item: (-item[1].documents, item[0]))
    told = ", ".join(f"{reason} {amount.documents:,}" for reason, amount in ordered)
    return f" ({told})" if told else ""


def _value(value: Any) -> str:
    return "off" if value is None else str(value)
