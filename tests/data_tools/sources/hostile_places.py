"""Hostile folders: links in circles, pipes, devices, names, and files of every kind with nothing in them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.data_tools.sources.hostile import Case, file

EMPTY = {
    "text": "a.txt",
    "jsonl": "a.jsonl",
    "csv": "a.csv",
    "parquet": "a.parquet",
    "html": "a.html",
    "warc": "a.warc",
    "wikipedia": "a.xml",
    "code": "a.py",
}


def cases() -> Iterator[Case]:
    yield Case("folder-linked-into-itself", "text", _loop, good=("one", "two"))
    yield Case("folders-linked-to-each-other", "text", _mutual, good=("one", "two"))
    yield Case("many-folders-linked-to-all", "text", _web_of_links, good=tuple(f"text {i}" for i in range(12)))
    yield Case("link-to-itself", "text", _self_link, good=("good",), bad=1)
    yield Case("link-to-nowhere", "text", _dangling, good=("good",), bad=1)
    yield Case("link-to-a-file-above", "text", _outside, good=("good", "elsewhere"))
    for device in ("/dev/zero", "/dev/random", "/dev/tty", "/proc/self/mem"):
        yield Case(f"link-to-{device}", "text", _link(device), good=("good",), bad=1)
        yield Case(f"link-to-{device}-as-jsonl", "jsonl", _link(device, "z.jsonl"), bad=1)
    yield Case("pipe", "text", _pipe("a.txt"), good=("good",), bad=1)
    yield Case("pipe-named-parquet", "parquet", _pipe("a.parquet"), bad=1)
    yield Case("pipe-named-directly", "jsonl", _pipe("a.jsonl"), bad=1, path="a.jsonl")
    yield Case("socket", "text", _socket, good=("good",), bad=1)
    yield Case("folder-named-like-a-file", "text", _folder_as_file, good=("inside", "good"))
    yield Case("nothing-may-be-read", "text", _forbidden, good=("good",))
    yield Case("odd-bytes-in-a-name", "text", _odd_name, good=("latin", "good"))
    yield Case("line-break-in-a-name", "text", file("a\nb.txt", b"good"), good=("good",))
    yield Case("glob-in-a-name", "text", file("a[1]*.txt", b"good"), good=("good",), path="a[1]*.txt")
    yield Case("longest-name", "text", file("n" * 251 + ".txt", b"good"), good=("good",))
    yield Case("deep-folders", "text", file("/".join(["d"] * 150) + "/a.txt", b"good"), good=("good",))
    yield Case("hidden-files", "text", _hidden, good=("good",))
    yield Case("many-empty-files", "text", _many_empty, good=("good",), bad=300)
    for kind, name in EMPTY.items():
        yield Case(f"empty-{kind}", kind, file(name, b""))
        yield Case(f"only-a-mark-{kind}", kind, file(name, b"\xef\xbb\xbf"))
        yield Case(f"only-zeros-{kind}", kind, file(name, bytes(100_000)))


def _good(folder: Path) -> None:
    (folder / "good.txt").write_text("good")


def _loop(folder: Path) -> None:
    (folder / "a.txt").write_text("one")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("two")
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)


def _mutual(folder: Path) -> None:
    for name, other, text in [("a", "b", "one"), ("b", "a", "two")]:
        (folder / name).mkdir()
        (folder / name / "x.txt").write_text(text)
        (folder / name / "other").symlink_to(folder / other, target_is_directory=True)


def _web_of_links(folder: Path) -> None:
    # Followed path by path these are more than 12! = 479 million folders.
    for i in range(12):
        (folder / f"d{i}").mkdir()
        (folder / f"d{i}" / "x.txt").write_text(f"text {i}")
        for j in range(12):
            (folder / f"d{i}" / f"to{j}").symlink_to(folder / f"d{j}", target_is_directory=True)


def _self_link(folder: Path) -> None:
    _good(folder)
    (folder / "a.txt").symlink_to(folder / "a.txt")


def _dangling(folder: Path) -> None:
    _good(folder)
    (folder / "a.txt").symlink_to(folder / "nowhere")


def _outside(folder: Path) -> None:
    _good(folder)
    (folder.parent / "elsewhere").write_text("elsewhere")
    (folder / "a.txt").symlink_to(folder.parent / "elsewhere")


def _link(target: str, name: str = "a.txt"):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        _good(folder)
        (folder / name).symlink_to(target)

    return make


def _pipe(name: str):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        _good(folder)
        os.mkfifo(folder / name)

    return make


def _socket(folder: Path) -> None:
    _good(folder)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has at most 108 bytes
        try:
            server.bind("a.txt")
        finally:
            os.chdir(here)


def _folder_as_file(folder: Path) -> None:
    _good(folder)
    (folder / "a.txt").mkdir()
    (folder / "a.txt" / "b.txt").write_text("inside")


def _forbidden(folder: Path) -> None:
    _good(folder)
    (folder / "a.txt").write_text("for root only")
    (folder / "a.txt").chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed" / "b.txt").write_text("for root only")
    (folder / "closed").chmod(0)


def _odd_name(folder: Path) -> None:
    _good(folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("latin")


def _hidden(folder: Path) -> None:
    _good(folder)
    (folder / ".a.txt").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "b.txt").write_text("hidden")


def _many_empty(folder: Path) -> None:
    _good(folder)
    for i in range(300):
        (folder / f"{i}.txt").touch()
