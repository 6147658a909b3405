"""Texts for headers at random: any mix of scripts, long words, blanks at both ends."""

from __future__ import annotations

import random


WORDS = [
    *("word", "a", "Invoice", "17", "-", "(note)", "a.b@example.org", "50%", "a=b_c"),
    *(
        "Grüße",
        "é",
        "Gen\u00e8ve",
        "d\u2019abonnement",
        "\u2013",
        "na\u00efve",
        "Ελλάδα",
        "Привет",
    ),
    *(
        "日本語",
        "견적서",
        "中文信息",
        "ภาษาไทย",
        "हिन्दी",
        "שלום",
        "مرحبا",
        "\u202eabc\u202c",
    ),
    *("😀", "👩\u200d👩\u200d👧", "🇨🇭", "e\u0301", "a\u00a0b", "\u3000", "𝒜𝒷"),
    *(
        "x" * 30,
        "y" * 76,
        "z" * 90,
        "é" * 40,
        "語" * 40,
        "https://example.org/" + "0" * 80,
    ),
    *("=?", "?=", "=?utf-8?q?x?=", "=?x?b?", "=3D", "_", '"quoted"', "a\\b", ","),
]


def text(draw: random.Random) -> str:
    """A text, as `subject` may hold it."""
    words = draw.choices(WORDS, k=draw.choice([1, 2, 3, 5, 8, 14]))
    blanks = [draw.choice([" "] * 12 + ["  ", "   ", "\t"]) for _ in words]
    joined = "".join(blank + word for blank, word in zip(blanks, words, strict=True))
    start = draw.choice([""] * 8 + [" ", "  "])
    return start + joined.lstrip(" \t") + draw.choice([""] * 8 + [" ", "  "])


NAME_WORDS = [
    *(
        "Ann",
        "Jörg",
        "Müller",
        "J.",
        "O'Hara",
        "日本",
        "太郎",
        "Иван",
        "שלום",
        "😀",
        "van",
    ),
    *("(x)", "a,b", 'q"q', "b\\s", "@home", "x" * 40, "é" * 30, "=?", ";", ":"),
]


def name(draw: random.Random) -> str:
    """A display name."""
    return " ".join(draw.choices(NAME_WORDS, k=draw.choice([1, 2, 2, 3, 6])))


FILE_WORDS = [
    *(
        "report",
        "final",
        "Größe",
        "日本語",
        "x" * 50,
        "%20",
        "'",
        "(1)",
        "a;b",
        'q"q',
        "😀",
    ),
    *("a=b", "*", "\\", "é" * 30, ",", "שלום"),
]


def filename(draw: random.Random) -> str:
    """The name of a file."""
    words = draw.choices(FILE_WORDS, k=draw.choice([1, 2, 3, 5]))
    return draw.choice(["", " ", "-"]).join(words) + draw.choice([".pdf", ".txt"])
