"""The least help that brings a success, by three papers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmrl.advantage import assign_advantages
from mmrl.objectives.hints import (
    GHPO_SHARES,
    ghpo_question,
    is_exempt,
    least_help,
    scaffold_levels,
    solution_prefix,
    with_helped,
)


def test_ghpo_cuts_the_solution_by_characters():
    solution = "".join(chr(97 + place % 26) for place in range(100))
    assert [len(solution_prefix(solution, share=share)) for share in GHPO_SHARES] == [25, 50, 75]
    assert solution.startswith(solution_prefix(solution, share=0.25))
    asked = ghpo_question("Find x.", solution, share=0.25)
    assert asked.startswith("Find x.\n The following text is the beginning part of the answer")
    assert asked.endswith(solution[:25])


def _groups(successes: list[int], asked: list[int]) -> Iterator[list[int]]:
    for level, count in enumerate(successes):
        asked.append(level)
        yield [1] * count + [0] * (8 - count)


@pytest.mark.parametrize(
    ("successes", "level"),
    [([0, 0, 1, 4], 2), ([3], 0), ([0, 0, 0, 3, 8, 8], 3), ([0, 0, 0, 0], -1), ([], -1)],
)
def test_levels_beyond_the_first_success_are_never_sampled(successes, level):
    asked: list[int] = []
    assert least_help(_groups(successes, asked)) == level
    assert len(asked) == (level + 1 if level >= 0 else len(successes))


def test_what_could_not_be_judged_is_no_success_and_the_bar_can_be_set():
    assert least_help([[None, 0.5], [0.9, None]]) == -1
    assert least_help([[None, 0.5], [0.9, None]], right=0.9) == 1


def test_help_waits_until_the_exemption_is_over():
    assert [is_exempt(progress) for progress in (0.0, 0.149, 0.15, 1.0)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_scaffold_has_twelve_levels_that_add_up_within_a_kind():
    chunks = ["a", "b", "c", "d"]
    levels = scaffold_levels({"solution": chunks, "knowledge": chunks, "planning": chunks})
    assert len(levels) == 12
    assert levels[0] == ("knowledge", "a")
    assert levels[3] == ("knowledge", "a\nb\nc\nd")
    assert levels[4] == ("planning", "a")
    assert levels[11][0] == "solution"
    assert scaffold_levels({}) == []


def test_one_success_in_a_failing_group_gives_it_advantages():
    scores_G = with_helped([0.0] * 8, 1.0, place=0)
    [found] = assign_advantages([scores_G], "grpo")
    assert found == pytest.approx([2.474867] + [-0.353552] * 7, rel=1e-3)
