from __future__ import annotations

import pytest

CHOICES = {"choices": ["dog", "cat", "chair", "table"]}

SENTENCES = [
    "C",
    "C.",
    "(C)",
    "The answer is C.",
    "C. chair",
    "**C**",
    "Answer: C",
    "A chair is visible, so the answer is C.",
    "According to the video, the answer is C",
    "Based on the frames, I think it is C",
    "Both B and D are wrong, so C",
    "Option C is correct because A and B are not visible.",
    "The answer is C, not A.",
    "A or C, but most likely C",
    "chair",
    "It is a chair.",
    "<answer>C</answer>",
    r"\boxed{C}",
    "c",
]
MORE = [
    "C) chair",
    r"\boxed{\text{C}}",
    "The correct answer is option (C)",
    "the answer is c.",
    "C, because it has legs",
    "It isn't A or B. C seems right",
    "(C) is right; (A) and (B) are wrong",
    "C\n\nIt has legs",
    "Not A but C",
    "<think>A or B</think> C",
    "Options: A, B, C, D. The answer is C",
]


@pytest.mark.parametrize("text", SENTENCES + MORE)
def test_an_ordinary_sentence_is_read_as_its_option(judge, text):
    assert judge("choice", "C", text, extra=CHOICES).score == 1.0
    assert judge("choice", "chair", text, extra=CHOICES).score == 1.0
    assert judge("choice", "A", text, extra=CHOICES).score == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot determine the answer.",
        "A or C",
        "The answer is C or D",
        "<answer>A, B, C, D</answer>",
        "C/D",
        "E",
        "It is not a chair",
        "<think>C",
        "none of them",
        "C is wrong",
        "A and C are correct",
    ],
)
def test_a_refusal_or_a_hedge_is_no_answer(judge, text):
    verdict = judge("choice", "C", text, extra=CHOICES)
    assert (verdict.score, verdict.status) == (0.0, "no_answer")


@pytest.mark.parametrize("text", ["A", "A)", "(a)"])
def test_three_spellings_of_the_letter_a(judge, text):
    assert judge("choice", "A", text).score == 1.0


def test_the_texts_of_the_options_may_carry_their_letters(judge):
    options = {"options": ["A. left lung", "B. lung", "C. liver"]}
    assert judge("choice", "A", "<answer>the left lung</answer>", extra=options).score == 1.0
    assert judge("choice", "A. left lung", "<answer>A</answer>", extra=options).score == 1.0


def test_two_options_with_the_same_words_are_the_same_option(judge):
    assert judge("choice", "B", "<answer>A</answer>", choices=["5 cm", "5 cm", "6 cm"]).score == 1.0


def test_a_text_answer_without_options_is_compared_as_text(judge):
    assert judge("choice", "motorboat", "<answer>Motorboat.</answer>").score == 1.0
    assert judge("choice", "motorboat", "<answer>a boat</answer>").score == 0.0


def test_only_a_tag_or_a_box_counts_where_the_whole_text_is_not_allowed(judge):
    assert judge("choice", "B", "B", whole_text=False).status == "no_answer"
    assert judge("choice", "B.", "<answer>B. open tap</answer>", whole_text=False).score == 1.0


def test_an_answer_that_is_no_option_is_the_rows_fault(judge):
    assert judge("choice", "lamp", "<answer>A</answer>", extra=CHOICES).status == "bad_gold"
    assert judge("choice", "", "<answer>A</answer>").status == "bad_gold"
