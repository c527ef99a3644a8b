"""Which earlier stage a stage means when it names one: whose weights it starts from, whose rows it
takes.

In stages that are repeated, `grpo` is the last round of it before the stage that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

BASE = "base"
"""In `start`: the weights that the stage's own `model` names."""


def earlier(names: Sequence[str], before: str, wanted: str) -> str | None:
    """Return the stage that `before` means by `wanted`; None where no earlier one is called so.

    >>> earlier(["sft_1", "grpo_1", "sft_2", "grpo_2"], "sft_2", "grpo")
    'grpo_1'
    """
    known = [*names][: [*names].index(before)]
    rounds = [name for name in known if re.fullmatch(rf"{re.escape(wanted)}_\d+", name)]
    if wanted in known:
        return wanted
    return rounds[-1] if rounds else None


def starts_from(stages: Mapping[str, Any], name: str) -> str | None:
    """Return the stage whose final weights a stage starts from; None for those of its `model`.

    A `select` stage has no weights of its own: who follows it starts where it started.
    """
    names = [*stages]
    given = stages[name].start
    if given == BASE:
        return None
    index = names.index(name)
    found = earlier(names, name, given) if given else names[index - 1] if index else None
    if found is not None and stages[found].kind == "select":
        return starts_from(stages, found)
    return found


def check_order(stages: Mapping[str, Any]) -> None:
    """Check that every stage that is named stands before the one that names it.

    Raises:
        ValueError: one does not.
    """
    names = [*stages]
    for name, stage in stages.items():
        if stage.start not in (None, BASE) and earlier(names, name, stage.start) is None:
            raise ValueError(f"stages.{name}.start: {_nowhere(names, name, stage.start)}")
        for key, source in stage.data.train.items():
            where = f"stages.{name}.data.train.{key}.stage"
            if source.stage is None:
                continue
            found = earlier(names, name, source.stage)
            if found is None:
                raise ValueError(f"{where}: {_nowhere(names, name, source.stage)}")
            if stages[found].kind != "select":
                raise ValueError(
                    f"{where}: {source.stage!r} is of kind {stages[found].kind}; rows are handed "
                    "on by a stage of kind select"
                )


def _nowhere(names: Sequence[str], before: str, wanted: str) -> str:
    known = [*names][: [*names].index(before)]
    close = get_close_matches(wanted, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(known) or "none"
    return f"there is no earlier stage {wanted!r}; {hint}(before it: {listed})"
