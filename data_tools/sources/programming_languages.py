"""The language of a source file, by its name or its first line. Names are those of GitHub's Linguist in lower case."""

from __future__ import annotations

import re
from difflib import get_close_matches

from data_tools.errors import DataError

# fmt: off
_EXTENSIONS = {
    "ada": "adb ads", "agda": "agda", "assembly": "asm s nasm", "awk": "awk", "batchfile": "bat cmd", "c": "c h",
    "c#": "cs csx", "c++": "cc cpp cxx c++ hh hpp hxx h++ inl ipp", "clojure": "clj cljs cljc edn",
    "cmake": "cmake", "cobol": "cob cbl cpy", "coffeescript": "coffee", "common lisp": "lisp lsp cl",
    "crystal": "cr", "css": "css", "cuda": "cu cuh", "cython": "pyx pxd pxi", "d": "d di", "dart": "dart",
    "elixir": "ex exs", "elm": "elm", "emacs lisp": "el", "erlang": "erl hrl", "f#": "fs fsi fsx",
    "fortran": "f f77 f90 f95 f03 f08 for", "glsl": "glsl vert frag geom comp", "go": "go",
    "graphql": "graphql gql", "groovy": "groovy gradle gvy", "haskell": "hs lhs", "hcl": "hcl tf tfvars",
    "html": "html htm xhtml", "idris": "idr", "java": "java", "javascript": "js mjs cjs jsx",
    "json": "json jsonc json5", "julia": "jl", "jupyter notebook": "ipynb", "kotlin": "kt kts", "lean": "lean",
    "lua": "lua", "m4": "m4", "makefile": "mk mak make", "markdown": "md markdown mdx", "matlab": "m",
    "nim": "nim nims", "nix": "nix", "objective-c++": "mm", "ocaml": "ml mli mll mly", "opencl": "opencl",
    "pascal": "pas pp dpr lpr", "perl": "pl pm t", "php": "php phtml php5", "powershell": "ps1 psm1 psd1",
    "prolog": "pro prolog", "protocol buffer": "proto", "python": "py pyw pyi", "r": "r rmd", "racket": "rkt",
    "restructuredtext": "rst", "ruby": "rb rake gemspec", "rust": "rs", "sass": "sass scss",
    "scala": "scala sc sbt", "scheme": "scm ss", "shell": "sh bash zsh ksh fish", "smalltalk": "st",
    "solidity": "sol", "sql": "sql ddl dml", "stan": "stan", "standard ml": "sml sig", "starlark": "bzl",
    "svelte": "svelte", "swift": "swift", "systemverilog": "sv svh", "tcl": "tcl tk", "tex": "tex sty cls",
    "thrift": "thrift", "toml": "toml", "typescript": "ts tsx mts cts", "verilog": "v vh", "vhdl": "vhd vhdl",
    "vim script": "vim", "visual basic": "vb vbs bas", "vue": "vue", "webassembly": "wat wast",
    "xml": "xml xsd xsl xslt", "yaml": "yaml yml", "zig": "zig",
}
_FILE_NAMES = {
    "makefile": "makefile", "gnumakefile": "makefile", "dockerfile": "dockerfile", "containerfile": "dockerfile",
    "cmakelists.txt": "cmake", "rakefile": "ruby", "gemfile": "ruby", "vagrantfile": "ruby", "podfile": "ruby",
    "build": "starlark", "build.bazel": "starlark", "workspace": "starlark", "sconstruct": "python",
    "sconscript": "python", "jenkinsfile": "groovy", "kbuild": "makefile", "configure.ac": "m4",
}
_INTERPRETERS = {
    "sh": "shell", "bash": "shell", "dash": "shell", "zsh": "shell", "ksh": "shell", "fish": "shell",
    "python": "python", "pypy": "python", "perl": "perl", "ruby": "ruby", "node": "javascript", "nodejs": "javascript",
    "deno": "typescript", "php": "php", "lua": "lua", "tclsh": "tcl", "wish": "tcl", "awk": "awk", "gawk": "awk",
    "mawk": "awk", "rscript": "r", "julia": "julia", "make": "makefile", "groovy": "groovy", "escript": "erlang",
    "elixir": "elixir", "guile": "scheme", "racket": "racket", "runhaskell": "haskell", "ocaml": "ocaml",
}
# fmt: on
_BY_EXTENSION = {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions.split()}
#: Formats of data more often than programs: kept only where they are asked for by name.
DATA_FORMATS = frozenset({"json", "xml", "jupyter notebook"})
LANGUAGES = frozenset(_BY_EXTENSION.values()) | frozenset(_FILE_NAMES.values()) | frozenset(_INTERPRETERS.values())
LANGUAGES |= {"objective-c"}

#: Extensions that two languages share, and what tells the second one.
_SHARED_EXTENSIONS = {
    "m": (re.compile(rb"^\s*(?:#import|@interface|@implementation|@protocol|@class)\b", re.MULTILINE), "objective-c"),
    "h": (re.compile(rb"^\s*(?:namespace|class|template\s*<|using\s+\w)|\bstd::|\bpublic:", re.MULTILINE), "c++"),
    "ts": (re.compile(rb"^\s*(?:<\?xml[^>]*>\s*)?<!DOCTYPE TS", re.IGNORECASE), "xml"),
}
_LOOKED_AT_BYTES = 20_000

_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-S[ \t]*)?(?:\w+=\S*[ \t]+)*)?(?:\S*/)?([A-Za-z]+)")


def language_of_name(path: str) -> str | None:
    """The language that a file's name says. None: an extension that isn't known, or none at all."""
    name = path.rpartition("/")[2].lower()
    if name in _FILE_NAMES:
        return _FILE_NAMES[name]
    stem, dot, extension = name.rpartition(".")
    if name.startswith("dockerfile.") or extension == "dockerfile":
        return "dockerfile"
    return _BY_EXTENSION.get(extension) if dot and stem else None


def shared_with(path: str) -> tuple[str, ...]:
    """Other languages that a file of this name may turn out to be."""
    shared = _SHARED_EXTENSIONS.get(path.rpartition(".")[2].lower())
    return () if shared is None else (shared[1],)


def may_be_script(path: str) -> bool:
    """Whether only the first line can tell: the name has no extension."""
    return "." not in path.rpartition("/")[2]


def language_of_content(path: str, raw: bytes) -> str | None:
    """The language of a file. Where its name says nothing or two things, the content tells: for a script the
    interpreter that it names."""
    language = language_of_name(path)
    if language is not None:
        telling, other = _SHARED_EXTENSIONS.get(path.rpartition(".")[2].lower(), (None, language))
        return other if telling is not None and telling.search(raw[:_LOOKED_AT_BYTES]) else language
    if not may_be_script(path):
        return None
    found = _SHEBANG.match(raw[:200])
    return _INTERPRETERS.get(found[1].decode("ascii").lower()) if found else None


def check_languages(names: tuple[str, ...], where: str) -> None:
    """
    Raises:
        DataError: one of them isn't known.
    """
    for name in names:
        if name.lower() not in LANGUAGES:
            near = get_close_matches(name.lower(), LANGUAGES, n=3) or sorted(LANGUAGES)
            what = f"no programming language is called {name!r}"
            raise DataError(what, where=where, fix=f"Known are, for example, {', '.join(near)}.")
