"""Rules for source code, as bigcode used them for The Stack and SantaCoder (Kocetkov et al. 2022, arXiv:2211.15533;
Ben Allal et al. 2023, arXiv:2301.03988).

* Lines are split at ``\\n``; a line break at the end begins no further line. Their lengths are in characters.
* ``alphanumeric`` is the share of letters and digits (of any script) among all characters.
* ``comments`` is the share of characters in comments, their marks included, found by what begins a comment in the
  document's ``programming_language`` (metadata). A mark inside a string on one line (``"``, and ``'`` where the
  language has it) begins none; a string that its line doesn't close is taken for none. Documentation strings are no
  comments here (bigcode counts Python's), and what only a parser would know isn't known: nested comments,
  here-documents, regular expressions. A language that isn't in the table has 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_tools.filters.rules import Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: Raised when a signal changes its meaning.
VERSION = "code-1"

THRESHOLDS = (
    Threshold("code/long-line", "max_line_length", "max_line_length", "above"),
    Threshold("code/mean-line-length", "max_mean_line_length", "mean_line_length", "above"),
    Threshold("code/alphanumeric", "min_alphanumeric", "alphanumeric", "below"),
    Threshold("code/few-comments", "min_comments", "comments", "below"),
    Threshold("code/many-comments", "max_comments", "comments", "above"),
)

#: How comments begin, to the languages (lower case) that begin theirs so. Names of ``kernels.code``.
COMMENTS = {
    "HASH": "python ruby perl shell bash sh zsh fish r julia yaml toml make makefile cmake dockerfile elixir "
    "powershell nix tcl awk coffeescript crystal nim starlark",
    "SLASHES": "c c++ cpp c-header cuda objective-c objc c# csharp java javascript js jsx typescript ts tsx go rust "
    "swift kotlin scala dart groovy zig d solidity "
    "verilog systemverilog glsl hlsl protobuf proto css scss less sass v vala",
    "SLASHES_OR_HASH": "php hcl terraform",
    "DASHES": "haskell lua ada vhdl elm applescript purescript idris agda lean",
    "DASHES_OR_BLOCK": "sql plsql plpgsql tsql",
    "SEMICOLON": "lisp common-lisp commonlisp clojure scheme racket emacs-lisp elisp assembly asm ini autohotkey",
    "PERCENT": "tex latex bibtex matlab erlang prolog postscript",
    "MARKUP": "html xml svg markdown vue xhtml",
}


def code_signals(
    texts: pa.ChunkedArray | pa.Array, languages: Sequence[str | None]
) -> dict[str, npt.NDArray[np.generic]]:
    """Measure a column of source files.

    Args:
        texts: strings without nulls.
        languages: the programming language of each, in any case ("Common Lisp" is "common-lisp"); None is unknown.

    Returns:
        signal to (texts,) numbers, in the order of ``schema.CODE_SIGNALS``; all 0 for an empty text.
    """
    import numpy as np

    from data_tools.kernels import code
    from data_tools.schema import CODE_SIGNALS

    syntaxes = {name: getattr(code, family) for family, names in COMMENTS.items() for name in names.split()}
    numbers = np.array(
        [syntaxes.get((name or "").lower().replace(" ", "-"), code.UNKNOWN) for name in languages], dtype=np.int64
    )
    measured = code.source_code_signals(texts, numbers)
    return {
        name: measured[:, column].astype(kind.to_pandas_dtype()) for column, (name, kind) in enumerate(CODE_SIGNALS)
    }
