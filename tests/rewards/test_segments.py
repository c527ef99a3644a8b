from __future__ import annotations

import pytest

ONE = "<time>1-2</time><caption>a door</caption><think>it opens</think>"


@pytest.mark.parametrize(
    ("text", "score", "count"),
    [
        (f"{ONE}<answer>C</answer>", 1, 1),
        (f" {ONE}\n{ONE} {ONE}\n<answer>C</answer>\n", 1, 3),
        ("<answer>C</answer>", 0, 0),
        ("<think>it opens</think><answer>C</answer>", 0, 0),
        (ONE, 0, 1),
        (f"{ONE}<answer></answer>", 0, 1),
        (f"{ONE}<answer>C</answer> more", 0, 1),
        (f"Well. {ONE}<answer>C</answer>", 0, 0),
        (f"{ONE}then <answer>C</answer>", 0, 1),
        ("<time> </time><caption>a</caption><think>b</think><answer>C</answer>", 0, 0),
        ("<time><time>1</time><caption>a</caption><think>b</think><answer>C</answer>", 0, 0),
        ("<caption>a</caption><time>1</time><think>b</think><answer>C</answer>", 0, 0),
        ("<time>" * 50_000, 0, 0),
        (ONE * 3_000, 0, 3_000),
        ("", 0, 0),
    ],
)
def test_moments_come_in_triples_before_the_answer(judge, text, score, count):
    verdict = judge("segments", "C", text)
    assert (verdict.score, verdict.parts["count"]) == (score, count)


def test_more_than_one_moment_can_be_asked_for(judge):
    assert judge("segments", "C", f"{ONE}<answer>C</answer>", at_least=2).score == 0
    assert judge("segments", "C", f"{ONE}{ONE}<answer>C</answer>", at_least=2).score == 1


def test_no_moment_at_all_cannot_be_asked_for(judge):
    with pytest.raises(Exception, match="at_least must be at least 1"):
        judge("segments", "C", ONE, at_least=0)
