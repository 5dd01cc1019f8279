"""`groundup generate`, `chat` and `classify`: use the models that a run made."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.workspace import WorkspaceOption, newest_artifact, open_workspace

if TYPE_CHECKING:
    from llm_core.model.transformer import Transformer
    from llm_core.tokenizer.encode import Tokenizer

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A model's folder, a stage, or stage/fingerprint. Default: the newest of the workspace.",
    ),
]
MaxTokensOption = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many tokens.")]
TemperatureOption = Annotated[float, typer.Option(min=0.0, max=10.0, help="0 always takes the likeliest token.")]
TopKOption = Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens only. 0: from all.")]
TopPOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens that make up this probability. 1: all.")
]
SeedOption = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 or mps.")]


def find_model(ref: str | None, workspace: Path | None, *stages: str) -> Path:
    """The folder that holds the model (its ``config.json``).

    Raises:
        UserError: there is none; the message says what to run.
    """
    from flows.errors import UserError
    from flows.lineage.store import Store
    from flows.lineage.tree import resolve

    if ref is None:
        path, _ = newest_artifact(open_workspace(workspace), *stages)
    elif Path(ref).is_dir():
        path = Path(ref)
    else:
        path, _ = resolve(Store(open_workspace(workspace)), ref)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(
        "there is no model in this folder", where=str(path), fix=f"name an artifact of {' or '.join(stages)}"
    )


def load(folder: Path, device: str) -> tuple[Transformer, Tokenizer]:
    """Weights and tokenizer, on the device."""
    from llm_core.config import LlmRuntime
    from llm_core.model.storage import load_model
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.device import prepare_device

    return load_model(folder, prepare_device(LlmRuntime(device=device))), Tokenizer.load(folder)


def choose_seed(seed: int | None) -> int:
    import secrets

    return secrets.randbits(31) if seed is None else seed


def write_stream(pieces: Iterable[str]) -> str:
    """Print pieces as they come; return the whole. No model gets to move the cursor of a terminal."""
    told = []
    for piece in pieces:
        shown = "".join(c for c in piece if c.isprintable() or c in "\n\t") if sys.stdout.isatty() else piece
        sys.stdout.write(shown)
        sys.stdout.flush()
        told.append(piece)
    return "".join(told)


def generate(
    model: ModelArgument = None,
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The text to continue. Empty: a new document.")] = "",
    max_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.8,
    top_k: TopKOption = 50,
    top_p: TopPOption = 0.95,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Let a pretrained model continue a text; it is printed as it comes."""
    folder = find_model(model, workspace, "pretrain")
    loaded, tokenizer = load(folder, device)
    from llm_core.generate.engine import generate as tokens_of
    from llm_core.generate.engine import stream_text

    tokens = tokens_of(
        loaded,
        tokenizer,
        [tokenizer.eot_id, *tokenizer.encode(prompt)],  # as in training: a text begins after the end of another
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k or None,
        top_p=top_p,
        seed=choose_seed(seed),
    )
    write_stream([prompt])
    write_stream(stream_text(tokenizer, tokens))
    print()


def fit_conversation(messages: list[dict[str, str]], tokenizer: Tokenizer, room: int) -> tuple[list[int], int]:
    """Token ids of as many of the last turns as fit into ``room`` tokens, and how many messages were left out.

    The last message always stays (of one that is longer than the room, the end).
    """
    from llm_core.chat import render

    for first in range(len(messages)):
        if messages[first]["role"] == "assistant":
            continue  # a conversation begins with a question
        ids, _ = render(messages[first:], tokenizer, add_generation_prompt=True)
        if len(ids) <= room:
            return ids, first
    ids, _ = render(messages[-1:], tokenizer, add_generation_prompt=True)
    return ids[-room:], len(messages) - 1


def questions(prompt: str = "you> ") -> Iterator[str]:
    """What is typed, or the lines of a stdin that is no terminal."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin)
        return
    while True:
        try:
            yield input(prompt).strip()
        except (EOFError, KeyboardInterrupt):  # Ctrl-D, Ctrl-C
            print()
            return


def chat(
    model: ModelArgument = None,
    max_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.7,
    top_k: TopKOption = 50,
    top_p: TopPOption = 0.9,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Talk with an assistant. /reset forgets the conversation, /exit (or Ctrl-D) ends it."""
    folder = find_model(model, workspace, "assistant")
    loaded, tokenizer = load(folder, device)
    from llm_core.generate.engine import generate as tokens_of
    from llm_core.generate.engine import stream_text

    window = loaded.config.context_length
    answer_room = min(max_tokens, window // 2)
    begun, typed = choose_seed(seed), sys.stdin.isatty()
    if typed:
        print(f"{folder}\nIt remembers the last {window - answer_room} tokens. /reset forgets them, /exit ends.\n")
    messages: list[dict[str, str]] = []
    for turn, said in enumerate(questions()):
        if said in ("/exit", "/quit"):
            break
        if said == "/reset":
            messages.clear()
            print("(forgotten)" if typed else "")
            continue
        if not said:
            continue
        messages.append({"role": "user", "content": said})
        ids, left_out = fit_conversation(messages, tokenizer, window - answer_room)
        del messages[:left_out]
        tokens = tokens_of(
            loaded,
            tokenizer,
            ids,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k or None,
            top_p=top_p,
            seed=begun + turn,
        )
        try:
            answer = write_stream(stream_text(tokenizer, tokens))
        except KeyboardInterrupt:  # ends the answer, not the conversation
            if not typed:
                raise
            answer = "..."
        print("\n" if typed else "")
        messages.append({"role": "assistant", "content": answer.strip()})


def classify(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts. Without any: one a line from stdin.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="As for generate. Default: the newest of the workspace.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Show the likeliest labels.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a text.")] = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Say which label each text gets, and how sure the model is."""
    import json

    from flows.errors import UserError

    folder = find_model(model, workspace, "classifier", "classifier_from_scratch")
    asked = list(texts or ()) or [line.strip() for line in sys.stdin if line.strip()]
    if not asked:
        raise UserError("there is no text to classify", fix='groundup classify "A text." (or lines on stdin)')
    from llm_core.adapt.classify import load_classifier
    from llm_core.config import LlmRuntime
    from llm_core.train.device import prepare_device

    classifier = load_classifier(folder, prepare_device(LlmRuntime(device=device)))
    for text, probabilities in zip(asked, classifier.probabilities(asked), strict=True):
        named = zip(classifier.labels, probabilities.tolist(), strict=True)
        ranked = sorted(named, key=lambda item: -item[1])
        if as_json:
            print(json.dumps({"text": text, "label": ranked[0][0], "probabilities": dict(ranked)}, ensure_ascii=False))
        else:
            show_probabilities(text, ranked[:top], only=len(asked) == 1)


def show_probabilities(text: str, ranked: list[tuple[str, float]], *, only: bool) -> None:
    """The likeliest labels of one text, with bars."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not only:
        console.print(Text(text if len(text) <= 100 else text[:97] + "...", style="dim"))
    table = Table.grid(padding=(0, 1))
    for place, (label, probability) in enumerate(ranked):
        style = "bold green" if place == 0 else ""
        bar = "█" * round(probability * 20) if console.encoding.startswith("utf") else "#" * round(probability * 20)
        table.add_row(Text(label, style=style), f"{probability:6.1%}", Text(bar, style=style or "dim"))
    console.print(table)
    if not only:
        console.print()
