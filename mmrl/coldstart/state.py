"""A row on its way through a chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from mmrl.answer import as_text, question_text
from mmrl.coldstart.config import RESPONSE
from mmrl.coldstart.templates import VIEWS
from mmrl.types import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A row with the texts that the steps have written."""

    row: Row
    texts: Mapping[str, tuple[str, ...]]
    """By name; more than one where a step drew several samples."""
    split: str = ""
    """The file that the row goes to, if not the main one."""
    difficulty: float | None = None
    copies: int = 1

    def text(self, name: str) -> str:
        """Return a text of which there is one, or a part of it: `reason`, `reason.thought`."""
        whole, _, view = name.partition(".")
        (found,) = self.texts[whole]
        return VIEWS[view](found) if view else found

    def plain(self) -> dict[str, str]:
        """Return the texts of which there is one: what a template may be filled with."""
        return {name: texts[0] for name, texts in self.texts.items() if len(texts) == 1}

    def with_texts(self, **texts: str | tuple[str, ...]) -> State:
        """Return the state with texts added or replaced."""
        found = {name: (text,) if isinstance(text, str) else text for name, text in texts.items()}
        return dataclasses.replace(self, texts={**self.texts, **found})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A row that a chain could not finish."""

    state: State
    step: str
    reason: str
    answered: bool
    """False where a teacher could not be had: the same command tries the row again."""


class LeftOut(Exception):
    """Raised by a step for a row that goes no further; says why."""

    def __init__(self, reason: str, *, answered: bool = True) -> None:
        """Say why, and whether asking again could help."""
        super().__init__(reason)
        self.answered = answered


def begin(row: Row) -> State:
    """Return the row as it enters a chain."""
    texts = {"question": question_text(row), "answer": as_text(row.answer), "source": row.source}
    texts |= {} if row.response is None else {RESPONSE: row.response}
    return State(row=row, texts={name: (text,) for name, text in texts.items()})
