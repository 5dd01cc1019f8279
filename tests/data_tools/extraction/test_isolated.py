"""Extraction in a child process: what a document does there costs that document only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_tools.errors import DataError
from data_tools.extraction.isolated import Extraction, Failed, IsolatedExtractor, Task

FUNCTION = "tests.data_tools.extraction.misbehaving:make"


@pytest.fixture
def extractor() -> Iterator[IsolatedExtractor]:
    extractor = IsolatedExtractor(FUNCTION, {}, timeout_seconds=0.3, max_memory_mb=500)
    yield extractor
    extractor.close()


def _run(extractor: IsolatedExtractor, *documents: bytes) -> list[str]:
    """Texts, and the reasons of those that failed."""
    outcomes = dict(extractor.map((index, Task(document)) for index, document in enumerate(documents)))
    assert list(outcomes) == list(range(len(documents)))
    return [
        outcome.text if isinstance(outcome, Extraction) else outcome.reason
        for outcome in outcomes.values()
        if outcome is not None
    ]


def test_documents_come_back_in_order_with_hints_and_facts(extractor: IsolatedExtractor) -> None:
    documents = [
        ("a", Task(b"one", {"hint": "x"})),
        ("b", None),
        ("c", Task("zwei ü \ud800".encode("utf-8", "surrogatepass"))),
    ]
    assert list(extractor.map(documents)) == [
        ("a", Extraction("ONE", {"seen": "x"})),
        ("b", None),
        ("c", Extraction("ZWEI Ü \ud800", {"seen": ""})),
    ]


def test_many_documents_need_one_process(extractor: IsolatedExtractor) -> None:
    assert len(set(_run(extractor, *[b"pid"] * 300))) == 1


def test_large_documents_pass_both_pipes(extractor: IsolatedExtractor) -> None:
    documents = [b"x" * 3_000_000, b"", b"y" * 900_000, b"z" * 900_000]
    assert _run(extractor, *documents) == [document.decode().upper() for document in documents]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"spin", "extraction-timeout"),
        (b"segfault", "extraction-crashed"),
        (b"memory", "extraction-crashed"),
        (b"exit", "extraction-crashed"),
        (b"raise", "extraction-failed"),
        (b"refuse", "no-text"),
    ],
)
def test_a_bad_document_costs_itself_only(extractor: IsolatedExtractor, document: bytes, reason: str) -> None:
    assert _run(extractor, b"before", document, b"after", document, b"last") == [
        "BEFORE", reason, "AFTER", reason, "LAST",
    ]  # fmt: skip


def test_a_document_that_only_waits_is_ended_by_the_clock() -> None:
    extractor = IsolatedExtractor(FUNCTION, {}, timeout_seconds=0.1, max_memory_mb=500)
    assert _run(extractor, b"sleep", b"after") == ["extraction-timeout", "AFTER"]
    extractor.close()


def test_what_becomes_of_a_document_does_not_depend_on_those_before(extractor: IsolatedExtractor) -> None:
    documents = [b"third-crashes"] * 7
    assert _run(extractor, *documents) == ["THIRD-CRASHES"] * 7


def test_causes_are_said(extractor: IsolatedExtractor) -> None:
    assert extractor.one(Task(b"memory")) == Failed("extraction-crashed", "out of memory (limit 500 MB)")
    crashed = extractor.one(Task(b"segfault"))
    assert isinstance(crashed, Failed) and "SIGSEGV" in crashed.detail
    assert extractor.one(Task(b"raise")) == Failed("extraction-failed", "RecursionError: too deep")


def test_prints_do_not_disturb_the_answers(extractor: IsolatedExtractor) -> None:
    assert _run(extractor, b"print", b"next") == ["PRINT", "NEXT"]


def test_an_abandoned_batch_is_not_taken_for_the_next(extractor: IsolatedExtractor) -> None:
    outcomes = extractor.map((index, Task(b"x%d" % index)) for index in range(200))
    assert next(outcomes)[1] == Extraction("X0", {"seen": ""})
    outcomes.close()
    assert _run(extractor, b"other") == ["OTHER"]


def test_a_function_that_cannot_be_set_up_stops_the_run() -> None:
    extractor = IsolatedExtractor(FUNCTION, {"fail": ""}, timeout_seconds=1, max_memory_mb=500)
    with pytest.raises(DataError, match="no module named nonesuch"):
        extractor.one(Task(b"x"))


def test_the_child_ends_with_its_extractor() -> None:
    extractor = IsolatedExtractor(FUNCTION, {}, timeout_seconds=1, max_memory_mb=500)
    pid = int(_run(extractor, b"pid")[0])
    del extractor
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("document", ["idle", "spin"])
def test_a_killed_parent_leaves_no_child_behind(document: str) -> None:
    program = (
        "import sys\n"
        "from data_tools.extraction.isolated import IsolatedExtractor, Task\n"
        f"e = IsolatedExtractor({FUNCTION!r}, {{}}, timeout_seconds=1, max_memory_mb=500)\n"
        "print(e.one(Task(b'pid')).text, flush=True)\n"
        f"e.one(Task({document!r}.encode())); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None and parent.stdin is not None
    child = Path("/proc") / parent.stdout.readline().decode().strip()
    assert child.exists()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(600):
        if not child.exists() or "(zombie)" in (child / "status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")
