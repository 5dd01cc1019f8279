"""Every signal read aloud in plain Python, with no thought of speed: what the compiled kernels must agree with."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from data_tools.text import words as split_words

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
# What datatrove takes for symbols and for sentence ends is its own list: taken from the package, not from our table.
SYMBOLS: set[str]
TERMINAL: set[str]
try:
    from datatrove.utils.text import PUNCTUATION_SET as SYMBOLS
    from datatrove.utils.text import TERMINAL_PUNCTUATION as TERMINAL
except ImportError:  # the tests that need them are skipped
    SYMBOLS = TERMINAL = set()


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def has_letter(word: str) -> bool:
    return any(c.isalpha() for c in word)


def has_letter_or_digit(word: str) -> bool:
    return any(c.isalnum() for c in word)


def is_word_character(c: str) -> bool:
    return c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M"


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def gopher(text: str, word_definition: str, definitions: str) -> dict[str, float]:
    words = split_words(text, word_definition)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    dots = text.count("...") + text.count("…")
    bullets = tuple("•●‣◦*-")
    endings: tuple[str, ...] = ("...", "…")
    hashes = text.count("#")
    if definitions == "paper":
        counted, measured = words, words
        trimmed = []
        for word in words:
            inner = [i for i, c in enumerate(word) if is_word_character(c)]
            trimmed.append(ascii_lower(word[inner[0] : inner[-1] + 1]) if inner else "")
        stop_words = len(STOP_WORDS & set(trimmed))
    elif definitions == "datatrove":
        counted = measured = [word for word in words if any(c not in SYMBOLS for c in word)]
        lines = [line.strip() for line in text.splitlines()]
        bullets = tuple("•-")
        stop_words = len(STOP_WORDS & set(words))
    else:
        counted = [word for word in words if has_letter_or_digit(word)]
        words = measured = text.split()
        dots += text.count(". . .")
        hashes += dots
        bullets = tuple("•●*-")
        endings = ("...", "…", ". . .")
        stop_words = sum(ascii_lower(word) in STOP_WORDS for word in words)
    return {
        "words": len(counted),
        "mean_word_length": share(sum(map(len, measured)), len(measured)),
        "hash_ratio": share(hashes, len(words)),
        "ellipsis_ratio": share(dots, len(words)),
        "bullet_lines": share(sum(line.startswith(bullets) for line in lines), len(lines)),
        "ellipsis_lines": share(sum(line.endswith(endings) for line in lines), len(lines)),
        "alpha_words": share(sum(map(has_letter, words)), len(words)),
        "stop_words": stop_words,
    }


def _duplicates(items: list[str], definitions: str) -> tuple[int, int]:
    counts = Counter(items)
    less = 1 if definitions == "datatrove" else 0
    repeated = {item: count - less for item, count in counts.items() if count > 1}
    return sum(repeated.values()), sum(len(item) * count for item, count in repeated.items())


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def repetition(text: str, word_definition: str, definitions: str) -> dict[str, float]:
    words = split_words(text, word_definition)
    if definitions == "datatrove":
        if not text:
            return {name: float(name == "duplicate_lines") for name in repetition("x", "whitespace", "paper")}
        lines = re.split(r"\n+", text)
        paragraphs = re.split(r"\n{2,}", text.strip())
        line_chars = paragraph_chars = word_chars = len(text)
    else:
        lines = [line.strip() for line in text.split("\n")]
        joined = "\n".join(lines)
        paragraphs = [part for part in re.split(r"\n{2,}", joined.strip("\n")) if part]
        lines = [line for line in lines if line]
        line_chars, paragraph_chars = sum(map(len, lines)), sum(map(len, paragraphs))
        if definitions == "dclm":
            words = [word for word in words if has_letter_or_digit(word)]
        word_chars = sum(map(len, words))
    repeated_lines, repeated_line_chars = _duplicates(lines, definitions)
    repeated_paragraphs, repeated_paragraph_chars = _duplicates(paragraphs, definitions)
    found = {
        "duplicate_lines": share(repeated_lines, len(lines)),
        "duplicate_paragraphs": share(repeated_paragraphs, len(paragraphs)),
        "duplicate_line_chars": share(repeated_line_chars, line_chars),
        "duplicate_paragraph_chars": share(repeated_paragraph_chars, paragraph_chars),
    }
    for n in (2, 3, 4):
        top = 0
        counts = Counter(_ngrams(words, n))
        if counts and definitions == "datatrove":
            ngram, count = counts.most_common(1)[0]
            top = len(" ".join(ngram)) * count
        elif counts and max(counts.values()) > 1:
            most = max(counts.values())
            top = max(len("".join(ngram)) for ngram, count in counts.items() if count == most) * most
        found[f"top_{n}_gram"] = share(top, word_chars)
    for n in range(5, 11):
        chars = 0
        if definitions == "datatrove":
            seen, index = set(), 0
            while index + n <= len(words):
                joined = "".join(words[index : index + n])
                if joined in seen:
                    chars += len(joined)
                    index += n
                else:
                    seen.add(joined)
                    index += 1
        else:
            ngrams = _ngrams(words, n)
            counts = Counter(ngrams)
            covered = {i + k for i, ngram in enumerate(ngrams) if counts[ngram] > 1 for k in range(n)}
            chars = sum(len(words[i]) for i in covered)
        found[f"duplicate_{n}_grams"] = share(chars, word_chars)
    return found


def fineweb(text: str, word_definition: str, definitions: str) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    endings = tuple(TERMINAL)
    shortest = 31
    if definitions != "datatrove":
        lines = [line.strip() for line in lines]
        endings += ('"', "'", "’", "”")
        shortest = 30
    _, repeated_chars = _duplicates(lines, "datatrove")
    newlines = text.count("\n")
    return {
        "line_end_punctuation": share(sum(line.endswith(endings) for line in lines), len(lines)),
        "short_lines": share(sum(len(line) < shortest for line in lines), len(lines)),
        "fineweb_duplicate_line_chars": share(repeated_chars, len(text) - newlines),
        "newline_ratio": newlines / max(1, len(split_words(text, word_definition))),
    }


_CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_NARROW, _WIDE, _CLOSERS = ".!?…", "。！．？｡", "\"')]»’”」』）"


def count_sentences(line: str) -> int:
    """Walk from mark to mark."""
    count, index = 0, 0
    line = line.strip()
    if not line:
        return 0
    while index < len(line):
        if line[index] not in _NARROW + _WIDE:
            index += 1
            continue
        run = index
        while run < len(line) and line[run] in _NARROW + _WIDE + _CLOSERS:
            run += 1
        wide = any(c in _WIDE for c in line[index:run])
        after = run
        while after < len(line) and (line[after].isspace() or (wide and line[after] in _NARROW + _WIDE + _CLOSERS)):
            after += 1
        count += after < len(line) and (after > run or wide)
        index = after
    return count + 1


def c4(text: str, variant: str, end_marks: bool) -> tuple[dict[str, float], str, dict[str, int]]:
    """(signals, what stays, counts)."""
    kept: list[str] = []
    counts: Counter[str] = Counter()
    words_kept = sentences = 0
    lorem = curly = False
    for line in text.splitlines():
        line = line.strip()
        if not line:
            continue
        if variant == "paper":
            lorem = lorem or "lorem ipsum" in ascii_lower(line)
            curly = curly or "{" in line
        words = line.split()
        if variant != "paper" and any(len(word) > 1000 for word in words):
            counts["c4/long-word"] += 1
            continue
        line, citations = _CITATION.subn("", line)
        if variant == "paper":
            line = line.strip()
            marks: tuple[str, ...] = (".", "!", "?", '"', "”")
        else:
            marks = (".", "!", "?", '"') if variant == "code" else (".", "!", "?", '"', "'")
        if end_marks and (not line.endswith(marks) or (variant != "paper" and line.endswith("..."))):
            counts["c4/no-terminal-punctuation"] += 1
            continue
        if variant != "datatrove":
            words = line.split()
        if len(words) < (5 if variant == "code" else 3):
            counts["c4/few-words"] += 1
            continue
        lowered = ascii_lower(line)
        lorem = lorem or (variant != "paper" and "lorem ipsum" in lowered)
        if "javascript" in lowered:
            counts["c4/javascript"] += 1
            continue
        curly = curly or (variant != "paper" and "{" in line)
        if any(policy in lowered for policy in _POLICIES):
            counts["c4/policy"] += 1
            continue
        counts["c4/citation"] += citations
        words_kept += len(line.split())
        sentences += count_sentences(line)
        kept.append(line)
    signals = {
        "c4_lines": len(kept),
        "c4_words": words_kept,
        "c4_sentences": sentences,
        "c4_long_paragraphs": sum(len(line) >= 200 for line in text.split("\n")),
        "c4_lorem_ipsum": lorem,
        "c4_curly_brace": curly,
    }
    return signals, "\n".join(kept).strip(), dict(+counts)


_COUNTER = re.compile(
    r"\W*\d[,.\d]*[KkMmBb]?\s+(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|"
    r"views|followers)\W*"
)


def _in_any_case(phrase: str) -> str:
    # re.IGNORECASE would take the dotless i for an i, too.
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else re.escape(c) for c in phrase)


_PHRASES = (
    re.compile(rf"\s?{_in_any_case('items in cart')}"),
    re.compile(rf"\s?{_in_any_case('read more...')}\Z"),
    re.compile(rf"\A{_in_any_case('sign-in')}\s?"),
)


def refinedweb(text: str) -> tuple[str, dict[str, int]]:
    """(what stays, counts)."""
    kept: list[str] = []
    counts: Counter[str] = Counter()
    for line in text.split("\n"):
        if line:
            if sum(c.isupper() for c in line) > 0.5 * len(line):
                counts["refinedweb/uppercase"] += 1
                continue
            if all(c.isdecimal() for c in line):
                counts["refinedweb/numeric"] += 1
                continue
            if _COUNTER.fullmatch(ascii_lower(line)):
                counts["refinedweb/counter"] += 1
                continue
            if len(line.split()) < 2:
                counts["refinedweb/few-words"] += 1
                continue
            if len(line.split()) <= 10:
                cut = 0
                for pattern in _PHRASES:
                    line, found = pattern.subn("", line)
                    cut += found
                if cut:
                    counts["refinedweb/phrase"] += cut
                    if not line.strip():
                        continue
        kept.append(line)
    return "\n".join(kept).strip(), dict(counts)
