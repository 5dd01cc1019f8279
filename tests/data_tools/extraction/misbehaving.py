"""A function for the extraction process that does what its document says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from data_tools.extraction.child import Refused


def make(arguments: dict[str, str]) -> Callable[[bytes, dict[str, str]], tuple[str, dict[str, str]]]:
    if "fail" in arguments:
        raise ImportError("no module named nonesuch")
    seen = 0

    def function(document: bytes, hints: dict[str, str]) -> tuple[str, dict[str, str]]:
        nonlocal seen
        seen += 1
        match document:
            case b"spin":
                while True:
                    pass
            case b"sleep":
                time.sleep(1000)
            case b"segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"memory":
                return str(len(bytearray(3_000_000_000))), {}
            case b"raise":
                raise RecursionError("too deep")
            case b"refuse":
                raise Refused("no-text", "nothing there")
            case b"exit":
                sys.stdout.flush()
                os._exit(3)
            case b"third-crashes":
                # As a leak would: it depends on what came before.
                if seen >= 3:
                    os._exit(9)
            case b"print":
                print("what a library prints must not be taken for an answer", flush=True)
            case b"pid":
                return str(os.getpid()), {}
        return document.decode("utf-8", "surrogatepass").upper(), {"seen": hints.get("hint", "")}

    return function
