"""`groundup`, the command line.

`groundup --help` has to answer at once, so every heavy import waits inside the command that needs it. What goes wrong
is told in :class:`Commands`, in one place for all of them: a mistake of the user (or of the disk) as one clear message
with an exit code, a bug of ours as a short message with the place of the saved traceback.

Exit codes: 0 done, 1 a bug, 2 wrong usage, 69 server out of reach, 73 locked by another run, 74 disk full, 75 stopped
with the state saved (by SIGTERM; the same command resumes), 76 out of memory, 77 diverged, 78 bad configuration or
data, 130 Ctrl-C (saved too).
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from flows import __version__
from flows.commands import artifacts, config, data, doctor, exchange, models, retune, run, sizes, track, ui, watch
from flows.commands.workspace import current_workspace
from flows.passwords import hide_passwords

#: ClickException, by way of a public name: some versions of typer carry their own click.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.mro()[2])

STOPPED = 75
INTERRUPTED = 130


class Terminated(BaseException):
    """SIGTERM arrived outside of a Prefect flow (inside one, Prefect raises its own TerminationSignal)."""


class Commands(TyperGroup):
    """All commands, and the one place that turns what they raise into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, _USAGE_ERROR):  # typer's own: it knows how to show them
            raise
        except KeyboardInterrupt:
            _say("\nStopped. Finished stages and checkpoints are kept; the same command continues from there.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `groundup ... | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            raise typer.Exit(report_error(error)) from None
        except BaseException as error:
            if type(error).__name__ not in ("TerminationSignal", "Terminated"):
                raise
            _say("Stopped by SIGTERM. Finished stages and checkpoints are kept; the same command continues from there.")
            raise typer.Exit(STOPPED) from None


def _say(text: str) -> None:
    """To stderr, whatever its encoding."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding), file=sys.stderr, flush=True)


def report_error(error: Exception) -> int:
    """Tell a person what went wrong; return the exit code."""
    from flows.errors import exit_code_of, explain

    message = explain(error)
    if message is not None:
        code = exit_code_of(error) or 1
        if code == 1 and "Traceback (most recent call last)" in message:  # a bug in a child process, told by its parent
            _say(f"error: {message.splitlines()[0][:300]}\n  The traceback is in {save_traceback(error)}.")
        else:
            _say(f"{'' if code == STOPPED else 'error: '}{in_parts(error) or message}")
        return code
    saved = save_traceback(error)
    first_line = (str(error).splitlines() or [""])[0]
    _say(f"error: groundup failed in a way it should not have: {type(error).__name__}: {first_line[:300]}")
    _say(f"  The traceback is in {saved}. Finished stages are kept; the same command continues from there.")
    return 1


def in_parts(error: BaseException) -> str:
    """What, where and fix on lines of their own, for the errors that carry them ("" for the others)."""
    what, where, fix = (getattr(error, name, "") for name in ("what", "where", "fix"))
    lines = [what, f"  where: {where}" if where else "", f"  fix:   {fix}" if fix else ""]
    return "\n".join(line for line in lines if line) if isinstance(what, str) and what else ""


def save_traceback(error: BaseException) -> Path:
    """Write the traceback into the workspace's logs (the temporary folder where that can't be written)."""
    text = "".join(traceback.format_exception(error))
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (current_workspace() / "logs", Path(tempfile.gettempdir())):
        try:
            if folder.parent.is_dir():
                folder.mkdir(exist_ok=True)
                path = folder / name
                content = f"groundup {__version__}: {' '.join(sys.argv)}\n\n{text}"
                path.write_text(hide_passwords(content), encoding="utf-8")
                return path
        except OSError:
            continue
    return Path("(nowhere: no folder could be written)")


app = typer.Typer(
    name="groundup",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Raw text in, a language model that you trained yourself out.",
    epilog="Start with: groundup run configs/quickstart.yaml",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"groundup {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Raw text in, a language model that you trained yourself out."""


_BUILD, _USE, _LOOK, _CARE = "Build", "Use the models", "Look inside", "Take care"
app.command("run", rich_help_panel=_BUILD)(run.run)
app.command("plan", rich_help_panel=_BUILD)(run.plan)
app.command("sizes", rich_help_panel=_BUILD)(sizes.sizes)
app.add_typer(config.app, name="config", rich_help_panel=_BUILD)
app.command("generate", rich_help_panel=_USE)(models.generate)
app.command("chat", rich_help_panel=_USE)(models.chat)
app.command("classify", rich_help_panel=_USE)(models.classify)
app.command("export", rich_help_panel=_USE)(exchange.export)
app.command("import", rich_help_panel=_USE)(exchange.import_)
app.command("watch", rich_help_panel=_LOOK)(watch.watch)
app.command("ui", rich_help_panel=_LOOK)(ui.ui)
app.command("runs", rich_help_panel=_LOOK)(artifacts.runs)
app.command("lineage", rich_help_panel=_LOOK)(artifacts.lineage)
app.command("funnel", rich_help_panel=_LOOK)(data.funnel)
app.command("why", rich_help_panel=_LOOK)(data.why)
data.app.command("retune")(retune.retune)
app.add_typer(data.app, name="data", rich_help_panel=_LOOK)
app.command("doctor", rich_help_panel=_CARE)(doctor.doctor)
app.command("gc", rich_help_panel=_CARE)(artifacts.gc)
app.add_typer(track.app, name="track", rich_help_panel=_CARE)


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def main() -> None:
    """Entry point of the `groundup` script."""
    import signal

    signal.signal(signal.SIGTERM, _on_sigterm)
    # A terminal that lacks a character shows "?", bytes on stdin that are no UTF-8 become U+FFFD, and nothing fails.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
