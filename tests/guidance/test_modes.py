"""AutoThink's rewards over a batch, and thoughts that are dropped."""

from __future__ import annotations

import pytest
import torch

from mmrl.config.guidance import GIVEN, AutoThinking
from mmrl.guidance.modes import repeats, shape_modes, with_empty_thought
from mmrl.types import Completion, Prompt, Rollout, Row, Verdict

ROW = Row(id="r", source="toy", prompt=[], answer="3", verifier=())
PROMPT = Prompt(row=ROW, ids=(1,), media={}, positions_RT=torch.zeros(1, 1), media_key="")
THOUGHT = "so</think>3"
AT_ONCE = "</think>\n\n3"


def rollout(text: str, accuracy: float | None, *, length: int = 5, status="ok") -> Rollout:
    return Rollout(
        prompt=PROMPT,
        completion=Completion(ids=(1,) * length, logprobs=(0.0,) * length, text=text, stop="eos"),
        verdict=Verdict(score=accuracy, status=status, parts={"accuracy": accuracy}),
    )


def scores(texts, accuracies, **settings) -> list[float | None]:
    group = [rollout(*pair) for pair in zip(texts, accuracies, strict=True)]
    shape_modes([group], AutoThinking(kind="autothink", **settings))
    return [one.verdict.score for one in group]


def test_both_modes_have_their_own_rewards():
    texts = [THOUGHT, THOUGHT, AT_ONCE, AT_ONCE, "never closed"]
    assert scores(texts, [1, 0, 1, 0, 1], rate=1.0) == [1, 0, 2, -1, 0]


def test_neither_mode_takes_the_batch_over():
    """The numbers of the released code."""
    assert scores([THOUGHT] * 4, [1, 0, 1, 1]) == [0, -1, 0, 0]
    assert scores([THOUGHT] * 3 + [AT_ONCE], [1, 0, 1, 1]) == [0.5, -0.5, 0.5, 2]
    assert scores([AT_ONCE] * 2, [1, 0]) == [1, -2]


def test_shorter_right_answers_gain_in_their_group():
    group = [rollout(THOUGHT, 1, length=length) for length in (100, 200, 300)]
    shape_modes([group], AutoThinking(kind="autothink", rate=1.0, shorter=0.05, longer=0.05))
    assert [one.verdict.score for one in group] == pytest.approx([1.051271, 1, 0.951229], abs=1e-6)


def test_a_wrong_answer_that_repeats_itself_costs_more():
    babble = AT_ONCE + " one two" * 10
    assert scores([babble, babble], [1, 0], rate=1.0) == [2, -2]
    assert scores([THOUGHT + " one two" * 10], [0], rate=1.0) == [0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a " * 10, True),
        ("a " * 9, False),
        ("one two three " * 10, True),
        ("one two three " * 9 + "one two", False),
        ("x" * 120, True),
        ("x" * 119, False),
        (" ".join(map(str, range(31))) * 10, False),
        ("b " + "a " * 9 + "b", False),
    ],
)
def test_what_counts_as_repetition(text, found):
    assert repeats(text) is found


def test_what_could_not_be_judged_and_other_ways_of_thinking_stay_as_they_are():
    group = [rollout(THOUGHT, None, status="error"), rollout(THOUGHT, 1)]
    metrics = shape_modes([group], AutoThinking(kind="autothink"))
    assert [one.verdict.score for one in group] == [None, 0]
    assert metrics == {"thinking/share": 1.0, "thinking/thought_accuracy": 1.0}
    assert shape_modes([group], GIVEN) == {}


def test_a_share_of_the_thoughts_is_dropped_and_always_the_same():
    response = "<think>long</think><answer>3</answer>"
    rows = [
        Row(id=f"r{i}", source="toy", prompt=[], answer="3", verifier=(), response=response)
        for i in range(400)
    ]
    dropped = [with_empty_thought(row, 0.5, seed=1).response for row in rows]
    assert set(dropped) == {response, "<think>\n\n</think><answer>3</answer>"}
    assert 160 < dropped.count(response) < 240
    assert dropped == [with_empty_thought(row, 0.5, seed=1).response for row in rows]
    assert [with_empty_thought(row, 0.0, seed=1) for row in rows] == rows
    assert response not in [with_empty_thought(row, 1.0, seed=1).response for row in rows]
