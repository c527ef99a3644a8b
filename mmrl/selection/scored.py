"""What a method says of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmrl.types import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A row with its difficulty."""

    row: Row
    difficulty: float
    """0 to 1 for all methods but `lim`, where only 0 is a bound; higher is harder, or later."""
    facts: Mapping[str, Any]
    """What the difficulty was made of; goes into the row's `extra.selection`."""
    reason: str = ""
    """Why the row is not selected; empty where it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unscored:
    """A row that the method can say nothing of."""

    row: Row
    reason: str
    answered: bool = True
    """False where the policy could not be had: the same command tries the row again."""


Outcome = Scored | Unscored
