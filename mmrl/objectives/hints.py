"""Help for questions that a whole group fails on, no more than brings one success: hints in the
prompt, level by level.

GHPO (arXiv 2507.10628)        the first 25, 50, 75 % of the characters of the reference solution
Scaf-GRPO (arXiv 2510.19807)   knowledge, planning, solution, each revealed in four chunks; not in
                               the first 15 % of the steps
Keye-VL 1.5 (arXiv 2509.01563) concept, strategy, tools, first step, whole solution
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

GHPO_SHARES = (0.25, 0.5, 0.75)
GHPO_TEXT = (
    "\n The following text is the beginning part of the answer, which you can refer to for solving "
    "the problem:\n"
)
KEYE_LEVELS = ("concept", "strategy", "tools", "first step", "solution")
SCAFFOLD_KINDS = ("knowledge", "planning", "solution")
EXEMPT_SHARE = 0.15


def is_exempt(progress: float, *, share: float = EXEMPT_SHARE) -> bool:
    """Whether it is too early for help: what fails now may succeed by itself soon."""
    return progress < share


def least_help(scores_by_level: Iterable[Sequence[float | None]], *, right: float = 1.0) -> int:
    """The number of levels tried until one had a right completion; -1 when none had.

    The groups are asked for one by one, so that the levels beyond are never sampled. Without help
    is a level too: 0 where the first group has a success.

    >>> least_help([[0, 0], [0, 0], [1, 0], [1, 1]])
    2
    """
    for level, scores_G in enumerate(scores_by_level):
        if any(score is not None and score >= right for score in scores_G):
            return level
    return -1


def solution_prefix(solution: str, *, share: float) -> str:
    """The first part of a solution, by characters, as GHPO's code cuts it."""
    return solution[: round(len(solution) * share)]


def ghpo_question(question: str, solution: str, *, share: float) -> str:
    """The question with the beginning of its solution, in GHPO's words."""
    return question + GHPO_TEXT + solution_prefix(solution, share=share)


def scaffold_levels(hints: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """All levels in order of help, each as (kind, text): the chunks of a kind add up, and the next
    kind begins anew.

    >>> scaffold_levels({"knowledge": ["a", "b"], "solution": ["c"]})
    [('knowledge', 'a'), ('knowledge', 'a\\nb'), ('solution', 'c')]
    """
    return [
        (kind, "\n".join(hints[kind][: count + 1]))
        for kind in SCAFFOLD_KINDS
        for count in range(len(hints.get(kind, ())))
    ]


def with_helped(
    scores_G: Sequence[float | None], helped_score: float, *, place: int
) -> list[float | None]:
    """The group's scores when the completion at `place` gives way to the one that had help."""
    return [helped_score if index == place else score for index, score in enumerate(scores_G)]
