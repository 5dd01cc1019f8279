"""Texts made of pieces that matter to the filters: many scripts, odd blanks and breaks, repeated lines and phrases."""

from __future__ import annotations

import random

from hypothesis import strategies as st

WORDS = [
    "the", "The", "be", "of", "and", "that", "have", "with", "to", "THE", "(the)", "the,", "with.", "word", "words",
    "naïve", "Straße", "ΣΟΦΙΑ", "мир", "日本語", "ภาษาไทย", "שלום", "العربية", "ก็", "e\u0301", "42", "3.14", "१२", "²",
    "it's", "l’art", "state-of-the-art", "-", "--", "*", "#", "##", "_", "__", "a", "b", "ab", "abc", "x1", "•••",
    "end.", "what?", "no!", "end...", "…", ".", ".", "....", '"quoted."', "”typographic”", "。", "本当。です！",
    "｡", "؟", "नमस्ते।", "l'été'", '"', "ŞİŞ", "ıI", "\u200b", "\U0001d54f", "😀",
]  # fmt: skip
BLANKS = (" ", " ", " ", "  ", "\t", "\u00a0", "\u3000", " \u2009")
BREAKS = (
    "\n", "\n", "\n\n", "\n\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x1f", "\x85", "\u2028", "\u2029",
    "\n \n",
)  # fmt: skip
STARTS = ("- ", "* ", "• ", "● ", "‣ ", "  - ", "\u00a0", "")
PHRASES = (
    "lorem ipsum", "Lorem IPSUM dolor", "JavaScript", "javascript is off.", "{", "[1]", "[]", "[edit]", "[12", "[Edit]",
    "[citation needed]", "our Privacy Policy.", "terms of use", "this site uses cookies.", "use of cookies", "cookies",
    "We use cookies to", "cookie policy", "items in cart", "3 items in cart", "Read more...", "read more…", "Sign-in",
    "Sign-in here", "1,234 likes", "3.4K Shares", "7 likes!", "likes 7", "★ 5m followers", "WE ARE LOUD TODAY", "12345",
    "x" * 1001, "é" * 1000,
)  # fmt: skip

_pieces = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(BLANKS),
    st.sampled_from(BREAKS),
    st.sampled_from(STARTS),
    st.sampled_from(PHRASES),
    st.text(max_size=3),
)
_lines = st.lists(st.one_of(_pieces, st.sampled_from([" ", "\n"])), max_size=30).map("".join)
#: A column of a few texts, some of which repeat themselves.
columns = st.lists(st.builds(lambda text, times: text * times, _lines, st.integers(1, 4)), min_size=1, max_size=4)


def make_document(rng: random.Random) -> str:
    """A document of up to some hundred words, long enough for every rule to have a say."""
    vocabulary = rng.sample(WORDS, rng.randrange(3, 30)) if rng.random() < 0.5 else list(WORDS)
    if rng.random() < 0.7:
        vocabulary += ["the", "of", "and", "house", "river", "morning", "people", "water"] * 6
    lines: list[str] = []
    for _ in range(rng.randrange(0, 40)):
        if lines and rng.random() < 0.15:
            lines.append(rng.choice(lines))
            continue
        words = [rng.choice(vocabulary) for _ in range(rng.randrange(0, 14))]
        if rng.random() < 0.1:
            words.append(rng.choice(PHRASES))
        blank = rng.choice(BLANKS) if rng.random() < 0.2 else " "
        end = rng.choice([".", "", "...", "!", "?", '"', "'", "…", ".\r"])
        lines.append((rng.choice(STARTS) if rng.random() < 0.2 else "") + blank.join(words) + end)
    odd = rng.random() < 0.2
    text = "".join(line + (rng.choice(BREAKS) if odd else rng.choice(["\n", "\n", "\n\n"])) for line in lines)
    return text if rng.random() < 0.5 else text.rstrip("\n")
