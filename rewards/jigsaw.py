r"""Jigsaw: the order of shuffled tiles, or how two of them lie to each other.

Three published rules. Jigsaw-R1 (arXiv 2505.23590) gives the share of right positions of the grid,
whether or not the answer is a permutation, and 0 for a wrong length (the default); its pair
question is a letter, right or wrong. SSL4RL (arXiv 2510.16416) gives the same share but tolerates a
wrong length (`any_length`), and asks for the inverse of the shown order (`inverse`, where the row
holds the shown order). Visual Jigsaw (arXiv 2509.25190) gives 1 for the exact order and 0.2 times
the share for another true permutation, plus 0.2 for the format, and nothing without it (`partial:
0.2, format_bonus: 0.2`); its released code tests only that the numbers differ, and gives partial
credit from five tiles on (`partial_from: 5`).

    answer [2, 4, 1, 3]: <answer>2 4\n3 1</answer> -> 0.5,  <answer>2 4 1</answer> -> 0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from mmrl.answer import BadGold, NoAnswer, answered, tagged
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.reading import is_permutation, read_integers

_ALONE = re.compile(r"(?<![A-Za-z0-9])[A-Z](?![A-Za-z0-9])")


def _right(row: Row, *, inverse: bool = False, format_bonus: float = 0.0) -> str:
    gold = _gold_order(row.answer, inverse=True) if inverse else row.answer
    return f"<think>\n</think>{tagged(gold)}" if format_bonus else tagged(gold)


@verifier(
    modality="image, video or points",
    gold=_right,
    paper="Jigsaw-R1, arXiv 2505.23590; Visual Jigsaw, arXiv 2509.25190; SSL4RL, arXiv 2510.16416",
)
def jigsaw(
    *,
    question: Literal["full", "pair"] | None = None,
    score: Literal["positions", "connections"] = "positions",
    partial: float | None = None,
    partial_from: int = 0,
    format_bonus: float = 0.0,
    inverse: bool = False,
    any_length: bool = False,
    whole_text: bool = False,
) -> Judge:
    """Share of the tiles that are in their right places.

    Args:
        question: `full` for the whole order, `pair` for a letter; by what the row's answer is if
            not given.
        score: Count right positions, or right neighbours to the right and below; those need a gold
            grid, as rows of numbers.
        partial: Credit for a true permutation that is not exact, times its share; other answers get
            0.
        partial_from: Fewest tiles for partial credit.
        format_bonus: Added where the completion thinks in `<think>` and then answers; 0 in all
            elsewhere.
        inverse: The row holds the shown order and the answer is its inverse: for each original
            place, the number of the tile that belongs there.
        any_length: Compare as many places as both have, instead of giving 0.
        whole_text: Judge the whole completion where it holds neither a tag nor a box, as Jigsaw-R1
            does.
    """
    if partial is not None and not 0 <= partial <= 1:
        raise ValueError(f"partial is a share, 0 to 1, got {partial}")
    if partial_from and partial is None:
        raise ValueError("partial_from goes with partial")
    if partial is not None and (any_length or score == "connections"):
        raise ValueError(
            "partial is a share of positions of a permutation: no any_length, no connections"
        )

    def judge(sample: Sample) -> Verdict:
        if format_bonus and not _thinks_first(sample.text):
            return Verdict(score=0.0, parts={"format": 0.0})
        gold = sample.row.answer
        pair = question == "pair" or (question is None and _letter(gold) is not None)
        order = [] if pair else _gold_order(gold, inverse=inverse)
        try:
            answer = answered(sample, whole_text=whole_text)
            accuracy = _pair(answer, gold) if pair else _full(answer, order, gold)
        except NoAnswer:
            if not format_bonus:
                raise
            accuracy = 0.0
        parts = {"accuracy": accuracy} | ({"format": 1.0} if format_bonus else {})
        return Verdict(score=accuracy + format_bonus, parts=parts)

    def _full(answer: str, order: list[int], gold: Any) -> float:
        found = _found_order(answer, len(order))
        if score == "connections":
            return _connections(found, order, _width(gold))
        if len(found) != len(order) and not any_length:
            return 0.0
        share = sum(a == b for a, b in zip(found, order, strict=False)) / len(order)
        if partial is None or share == 1:
            return share
        return partial * share if is_permutation(found) and len(order) >= partial_from else 0.0

    return judge


def _thinks_first(text: str) -> bool:
    r"""Tell whether the text is `<think>...</think>` and then an `<answer>` or a `\boxed{}`."""
    thought, closed, rest = text.strip().rpartition("</think>")
    answers = "\\boxed{" in rest or ("<answer>" in rest and "</answer>" in rest)
    return bool(closed) and thought.startswith("<think>") and answers


def _pair(answer: str, gold: Any) -> float:
    expected = _letter(gold)
    if expected is None:
        raise BadGold(f"{gold!r} is no letter")
    found = _last_letter(answer)
    if found is None:
        raise NoAnswer("no letter in the answer")
    return float(found == expected)


def _letter(gold: Any) -> str | None:
    return gold.strip() if isinstance(gold, str) and _ALONE.fullmatch(gold.strip()) else None


def _last_letter(answer: str) -> str | None:
    """Return the last capital letter that stands alone, else the last capital letter."""
    found = _ALONE.findall(answer) or [letter for letter in answer if "A" <= letter <= "Z"]
    return found[-1] if found else None


def _gold_order(gold: Any, *, inverse: bool) -> list[int]:
    order = read_integers(gold)
    if order is None or not is_permutation(order):
        raise BadGold(f"{gold!r} is no permutation of 1 to n")
    if not inverse:
        return order
    return [order.index(place) + 1 for place in range(1, len(order) + 1)]


def _found_order(answer: str, count: int) -> list[int]:
    found = read_integers(answer)
    if found is None or not all(1 <= number <= count for number in found):
        raise NoAnswer(f"the answer is no list of numbers from 1 to {count}")
    return found


def _width(gold: Any) -> int:
    widths = (
        {len(row) for row in gold if isinstance(row, list | tuple)}
        if isinstance(gold, list)
        else set()
    )
    if len(widths) != 1 or not all(isinstance(row, list | tuple) for row in gold):
        raise BadGold("connections need the gold order as rows of numbers")
    return widths.pop()


def _connections(found: Sequence[int], order: Sequence[int], width: int) -> float:
    """Return the share of the gold grid's neighbouring pairs, right and below, that the found grid
    has."""
    if len(found) != len(order):
        return 0.0
    if len(order) == 1:
        return float(found == order)
    expected = _neighbours(order, width)
    return len(expected & _neighbours(found, width)) / len(expected)


def _neighbours(order: Sequence[int], width: int) -> set[tuple[str, int, int]]:
    right = {("right", order[at], order[at + 1]) for at in range(len(order)) if (at + 1) % width}
    below = {("below", order[at], order[at + width]) for at in range(len(order) - width)}
    return right | below
