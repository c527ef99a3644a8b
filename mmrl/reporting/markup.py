"""Puts untrusted text into HTML.

Escaped, with invisible characters made visible, and with a count where it is cut.
"""

from __future__ import annotations

import html
import json
from typing import Any

DOT = " \u00b7 "
"""Between facts on a line."""

_VISIBLE = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
    | {0x7F: "\u2421"}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], "\ufffd")
    | {
        code: f"\u27e8U+{code:04X}\u27e9"
        for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    }
)
"""Control characters as their pictures, what UTF-8 cannot hold as the replacement character, and
the marks that turn the direction of the text around by their numbers."""

_MARK = 40
"""About as long as the mark of a cut."""


def text(value: str, *, head: int | None = None, tail: int = 0) -> str:
    """The text for use in an element or, where nothing is cut, in a quoted attribute.

    Args:
        value: Anything.
        head: Characters to keep from the start; None keeps all.
        tail: Characters to keep from the end. What is between, if it is longer than the words that
            say so, is replaced by its count.
    """
    left_out = 0 if head is None else len(value) - head - tail
    if head is None or left_out <= _MARK:
        return _escape(value)
    cut = f"<i class=cut>\u2026 {left_out:,} characters left out \u2026</i>"
    return f"{_escape(value[:head])}{cut}{_escape(value[len(value) - tail :])}"


def json_text(value: Any, *, head: int) -> str:
    """A string as it is, anything else as JSON."""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text(shown, head=head)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `3 min 20 s`, `5 h 12 min`, `2 d 3 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, part, part_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {part_name}"
    return f"{whole} s"


def colour(modality: str | None) -> str:
    """The colour of a modality, the same in every table and chart; one for all mixtures."""
    if modality in ("image", "video", "audio", "text"):
        return f"var(--{modality})"
    return "var(--mixed)" if modality and "+" in modality else "var(--accent)"


def _escape(value: str) -> str:
    return html.escape(value.translate(_VISIBLE), quote=True)
