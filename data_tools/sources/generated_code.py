"""Files in source trees that nobody wrote there: generated, minified, or brought along from elsewhere."""

from __future__ import annotations

import re

# fmt: off
_FOREIGN_FOLDERS = frozenset((
    "node_modules", "bower_components", "jspm_packages", "vendor", "vendored", "third_party", "third-party",
    "thirdparty", "site-packages", "pods", "carthage", "__pycache__", ".git",
))
_LOCK_FILES = frozenset((
    "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "cargo.lock", "poetry.lock", "uv.lock",
    "pipfile.lock", "gemfile.lock", "composer.lock", "go.sum", "flake.lock", "mix.lock", "pubspec.lock",
))
# fmt: on
_GENERATED_NAME = re.compile(
    r"[._-]min\.(?:js|css|mjs)$|\.map$|_pb2(?:_grpc)?\.pyi?$|\.pb(?:\.gw)?\.(?:go|cc|h|c)$|\.g(?:\.i)?\.(?:dart|cs)$"
    r"|\.designer\.(?:cs|vb)$|\.freezed\.dart$|^(?:moc|qrc|ui)_[^/]*\.(?:cpp|h)$|_generated\.(?:h|go|rs|ts|py)$|\.lock$",
    re.IGNORECASE,
)
#: Where generators say so: in the first lines, at the beginning of a comment or in words that nothing else uses.
_MARKER_LINES = 20
_MARKER_CHARACTERS = 4_000
_MARKER = re.compile(
    r"@generated\b"
    r"|\bdo not (?:edit|modify)\b(?! this (?:line|section|block))"
    r"|\b(?:auto|automatically|machine)[- _]?generated\b"
    r"|^\W*(?:(?:this|the)\s+)?(?:(?:file|code|source|header|module|class|script|document)\s+)?"
    r"(?:(?:is|was|has\s+been)\s+)?generated\s+(?:by|from|with|using)\b",
    re.IGNORECASE | re.MULTILINE,
)
#: Characters a line on average. 110 is Linguist's bound for scripts and style sheets; other languages have long lines
#: for other reasons (tables, prose).
_MINIFIED = {"javascript": 110.0, "css": 110.0, "typescript": 200.0}
_MINIFIED_OTHERS = 1_000.0
_MINIFIED_FROM_CHARACTERS = 1_000


def skip_by_path(path: str) -> str | None:
    """``vendored`` or ``generated``, where the path says so."""
    *folders, name = path.split("/")
    if not _FOREIGN_FOLDERS.isdisjoint(folder.lower() for folder in folders):
        return "vendored"
    if name.lower() in _LOCK_FILES or _GENERATED_NAME.search(name):
        return "generated"
    return None


def skip_by_text(text: str, language: str) -> str | None:
    """``generated`` or ``minified``, where the text says so."""
    head = "\n".join(text[:_MARKER_CHARACTERS].split("\n", _MARKER_LINES)[:_MARKER_LINES])
    if _MARKER.search(head):
        return "generated"
    lines = text.count("\n") + (not text.endswith("\n"))
    if len(text) >= _MINIFIED_FROM_CHARACTERS and len(text) > _MINIFIED.get(language, _MINIFIED_OTHERS) * lines:
        return "minified"
    return None
