"""Edits of chains of thought, against the papers' own examples."""

from __future__ import annotations

import pytest

from mmrl.coldstart.templates import fill, variables
from mmrl.coldstart.texts import (
    count_words,
    cut_reflection,
    drops_thought,
    holds_any,
    pick,
    read_choice,
    replace_words,
    rest_of,
    thought_of,
    with_thought,
)


def test_a_thought_ends_before_it_turns_round_and_the_answer_stays():
    cut = cut_reflection("A. B. Wait, maybe C. </think> <answer>4</answer>")
    assert cut == "A. B.\n</think> <answer>4</answer>"
    assert thought_of(cut) == "A. B."


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("<think>Two. But wait, three.</think> 2", "<think>Two.\n</think> 2"),
        ("One. Wait. Two. Wait. Three.</think>", "One.\n</think>"),
        ("no turn here <answer>1</answer>", "no turn here <answer>1</answer>"),
        ("the waiter waits</think>1", "the waiter waits</think>1"),
        ("Two. Wait, three. So \\boxed{2}", "Two.\n\\boxed{2}"),
        ("Two. </think> Wait, <answer>2</answer>", "Two. </think> Wait, <answer>2</answer>"),
    ],
)
def test_where_a_chain_is_cut(text, cut):
    assert cut_reflection(text) == cut


@pytest.mark.parametrize(
    ("counts", "rule", "kept"),
    [
        ([10, 30, 50], "second_longest", 30),
        ([10, 30], "second_longest", 10),
        ([10], "second_longest", 10),
        ([50, 10, 30], "shortest", 10),
        ([10, 30], "shortest", 10),
        ([10], "shortest", 10),
        ([10, 50, 30], "longest", 50),
        ([30, 10], "first", 30),
    ],
)
def test_which_of_several_right_chains_is_kept(counts, rule, kept):
    texts = [" ".join(["w"] * count) for count in counts]
    assert count_words(pick(texts, rule)) == kept


def test_a_dropped_thought_is_two_line_ends():
    assert with_thought("<think>long</think><answer>3</answer>", "\n\n") == (
        "<think>\n\n</think><answer>3</answer>"
    )


def test_thoughts_are_dropped_at_the_rate_and_for_the_same_rows_again():
    ids = [f"row-{n}" for n in range(4000)]
    for p in (0.2, 0.5, 0.8):
        dropped = [drops_thought(0, row, p) for row in ids]
        assert sum(dropped) / len(ids) == pytest.approx(p, abs=0.03)
        assert dropped == [drops_thought(0, row, p) for row in ids]
    assert [drops_thought(0, row, 0.5) for row in ids] != [
        drops_thought(1, row, 0.5) for row in ids
    ]
    half, most = ({row for row in ids if drops_thought(0, row, p)} for p in (0.5, 0.8))
    assert half < most
    assert not any(drops_thought(0, row, 0) for row in ids)
    assert all(drops_thought(0, row, 1) for row in ids)


def test_the_parts_of_a_text():
    tagged = "<think> a\nb </think> so <answer> 4 </answer>"
    assert (thought_of(tagged), rest_of(tagged)) == ("a\nb", "so <answer> 4 </answer>")
    assert thought_of("a </think> 4") == "a"
    assert (thought_of("steps \\boxed{4}"), rest_of("steps \\boxed{4}")) == ("steps", "\\boxed{4}")
    assert (thought_of("no answer"), rest_of("no answer")) == ("no answer", "")


def test_words_are_replaced_whole_the_longest_first():
    words = {"the description": "the image", "the description says": "one sees"}
    assert replace_words("The description says so; the descriptions", words) == (
        "One sees so; the descriptions"
    )
    assert replace_words("THE DESCRIPTION shows a+b", {**words, "a+b": "c"}) == "The image shows c"


def test_cues_are_whole_words_in_any_case():
    assert holds_any("Wait!", ["wait"]) == "Wait"
    assert holds_any("awaiting", ["wait"]) == ""
    assert holds_any("I should check it", ["i should check"]) == "I should check"


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("B", "B"),
        (" **B** ", "B"),
        ("Tier B.", "B"),
        ("B\nbecause A is better", "B"),
        ("A better chain than C", None),
        ("either B or C", None),
        ("a chain", None),
        ("", None),
    ],
)
def test_a_grade_is_read_or_refused(reply, choice):
    assert read_choice(reply, ["A", "B", "C"]) == choice


@pytest.mark.parametrize(
    ("reply", "choice"),
    [("Yes", "yes"), ("no.", "no"), ("No, yes would be wrong", "no"), ("yesterday", None)],
)
def test_yes_and_no_may_be_written_in_any_case(reply, choice):
    assert read_choice(reply, ["yes", "no"]) == choice


def test_a_template_fills_names_and_leaves_other_braces():
    template = '{question} {"a": {1}} \\boxed{} {reason.thought}|{reason.answer}'
    assert variables(template) == ["question", "reason.thought", "reason.answer"]
    texts = {"question": "{reason}", "reason": "<think>t</think><answer>5</answer>"}
    assert fill(template, texts) == '{reason} {"a": {1}} \\boxed{} t|5'


def test_long_texts_take_no_time():
    import time

    began = time.perf_counter()
    for text in ("Wait " * 100_000, "<think>" * 100_000, "\\boxed{" * 100_000, "a" * 500_000):
        cut_reflection(text)
        thought_of(text)
        holds_any(text, ["wait x", "hmm"])
        read_choice(text, ["A", "B"])
    assert time.perf_counter() - began < 3
