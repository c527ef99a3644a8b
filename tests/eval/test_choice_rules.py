"""Which option a sentence means: by each benchmark's own rules, and by strict ones."""

from __future__ import annotations

import pytest

from mmrl.evals.benchmark import Response, find_benchmark
from mmrl.evals.scorers.mcq import (
    first_letter,
    letter_set,
    mmmu_letter,
    read_options,
    score_letter_set,
)
from mmrl.evals.scorers.text import score_text, score_yes_no
from mmrl.evals.scoring import judge

CHOICES = ("dog", "cat", "chair", "table")
RANDOM = ""
# The sentence; the letter of MMMU's parser and that of LongVideoBench's, empty for a random one.
SENTENCES = [
    ("C", "C", "C"),
    ("C.", "C", "C"),
    ("(C)", "C", "C"),
    ("The answer is C.", "C", "C"),
    ("C. chair", RANDOM, "C"),
    ("**C**", RANDOM, "C"),
    ("Answer: C", "C", "A"),
    ("A chair is visible, so the answer is C.", "C", "A"),
    ("According to the video, the answer is C", "C", "A"),
    ("Based on the frames, I think it is C", "C", "B"),
    ("Both B and D are wrong, so C", "C", "B"),
    ("Option C is correct because A and B are not visible.", "B", "C"),
    ("The answer is C, not A.", "A", "C"),
    ("A or C, but most likely C", "C", "A"),
    ("chair", RANDOM, RANDOM),
    ("It is a chair.", RANDOM, RANDOM),
    ("<answer>C</answer>", RANDOM, "C"),
    (r"\boxed{C}", RANDOM, "C"),
    ("c", RANDOM, RANDOM),
]
REFUSALS = ["", "I cannot determine the answer."]
BY_CHOICE = {
    "longvideobench": {"id": "1", "candidates": list(CHOICES), "correct_choice": 2},
    "mmau": {"id": "1", "choices": list(CHOICES), "answer": "chair"},
    "mathvision": {"id": "1", "options": list(CHOICES), "answer": "C"},
    "mathverse": {
        "sample_index": "1",
        "question": "Which?\nChoices:\nA:dog\nB:cat\nC:chair\nD:table",
        "question_type": "multi-choice",
        "answer": "C",
    },
    "mmmu": {"id": "validation_Art_1", "options": str(list(CHOICES)), "answer": "C"},
    "mmmu_pro": {"id": "test_Art_1", "options": str(list(CHOICES)), "answer": "C"},
    "mmstar": {
        "index": 1,
        "question": "Which? Options: A: dog, B: cat, C: chair, D: table",
        "answer": "C",
    },
    "mvbench": {
        "_key": "1",
        "task": "moving_count",
        "candidates": list(CHOICES),
        "answer": "chair",
    },
    "scienceqa": {"_key": "1", "choices": list(CHOICES), "answer": 2},
    "video_mme": {
        "question_id": "1",
        "options": ["A. dog", "B. cat", "C. chair", "D. table"],
        "answer": "C",
    },
    "vsi_bench": {
        "id": 1,
        "question_type": "route_planning",
        "options": ["A. dog", "B. cat", "C. chair", "D. table"],
        "ground_truth": "C",
    },
    "we_math": {
        "ID": "1",
        "key": "2steps_1",
        "option": "A. dog; B. cat; C. chair; D. table",
        "answer": "C",
    },
}


def _judge(name, text, mode="strict", **changes):
    benchmark = find_benchmark(name)
    item = benchmark.item({**BY_CHOICE[name], **changes})
    return judge(benchmark, item, Response(text=text), mode)


@pytest.mark.parametrize("name", BY_CHOICE)
def test_strict_mode_reads_every_sentence_right_and_guesses_at_no_refusal(name):
    for sentence, *_ in SENTENCES:
        found = _judge(name, sentence)
        assert (found.status, found.correct, found.normalised) == ("ok", True, "C"), sentence
    for refusal in REFUSALS:
        assert _judge(name, refusal).status == "no_answer"
    assert _judge(name, "Either A or C").status == "ambiguous"


@pytest.mark.parametrize(("sentence", "mmmu", "longvideobench"), SENTENCES)
def test_official_parsers_make_the_mistakes_that_they_make(sentence, mmmu, longvideobench):
    assert mmmu_letter(sentence, CHOICES)[0] == mmmu
    for name, letter in (("mmmu", mmmu), ("longvideobench", longvideobench)):
        found = _judge(name, sentence, "official")
        if letter:
            assert (found.status, found.normalised, found.correct) == ("ok", letter, letter == "C")
        else:
            assert (found.status, found.how, found.correct) == ("no_answer", "fallback", False)
            assert found.value == 1 / 4


def test_a_random_pick_is_worth_one_over_the_number_of_options():
    record = {"id": "validation_Art_1", "options": str([f"x{n}" for n in range(10)]), "answer": "J"}
    benchmark = find_benchmark("mmmu_pro")
    found = judge(benchmark, benchmark.item(record), Response(text="?"), "official")
    assert (found.value, found.status) == (0.1, "no_answer")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It is so.\nAnswer: C", "C"),
        ("Answer: A\nno, Answer: B", "B"),
        # two options stand after the mark, so the parser starts over and finds "D "
        ("Answer: C or D then", "D"),
        ("C.", "C"),
        # a capital at the end of a word is an option when a blank follows
        ("A NASA photo", "A"),
        ("The DNA is of a cat", "A"),
        ("It is B. It is not C.", "C"),
        ("It is B. not c", "B"),
        ("whatever you might think it is a chair", "C"),
        ("a dog and then there is a cat", "B"),
        ("no idea", ""),
    ],
)
def test_mmmu_pro_looks_behind_the_last_answer_mark_first(text, letter):
    assert mmmu_letter(text, CHOICES, pro=True)[0] == letter


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("C", 1.0),
        ("c", 1.0),
        ("(c) chair", 1.0),
        ("Option C", 1.0),
        ("the answer is c", 1.0),
        ("Chair", 1.0),
        ("Because", 0.0),
        ("The best answer is C", 0.0),
        ("", 0.0),
    ],
)
def test_mmstar_wants_the_letter_at_the_start(text, value):
    assert _judge("mmstar", text, "official").value == value


@pytest.mark.parametrize(
    ("text", "value"), [("C", 1.0), ("C. chair", 1.0), ("C ", 0.0), ("c", 0.0), ("(C)", 0.0)]
)
def test_scienceqa_wants_the_letter_alone_or_with_a_full_stop(text, value):
    assert _judge("scienceqa", text, "official").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("C", 1.0),
        ("(C) chair", 1.0),
        ("C. chair", 1.0),
        ("(C). chair", 1.0),
        ("Answer: (C)", 0.0),
        ("B", 0.0),
        ("", 1.0),
        ("(", 1.0),
        (" ", 1.0),
        ("C\nbecause", 1.0),
    ],
)
def test_mvbench_counts_an_empty_first_word_as_right(text, value):
    found = _judge("mvbench", text, "official")
    assert found.value == value
    assert (found.how == "fallback") == (text.strip("( ") == "")
    assert _judge("mvbench", "").value == 0.0


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The best answer is: C", "C"),
        # the phrase is lost in a pair that a missing comma has joined
        ("Best answer: C", "B"),
        ("Based on it, C", "B"),
        ("The best option is C", "C"),
        ("E", ""),
        ("I cannot tell what this is, it is too dark to see it", ""),
    ],
)
def test_video_mme_takes_the_first_letter(text, letter):
    found = _judge("video_mme", text, "official")
    assert (found.normalised or "") == letter
    assert found.status == ("ok" if letter else "no_answer")


@pytest.mark.parametrize(
    ("text", "value"),
    [("C", 1.0), ("c.", 1.0), ("C. chair", 1.0), ("(C)", 0.0), ("Option C", 0.0), (" C", 0.0)],
)
def test_vsi_bench_takes_the_first_word(text, value):
    assert _judge("vsi_bench", text, "official").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<Answer>: <<C>>", 1.0),
        ("Answer: C. chair", 1.0),
        ("C", 1.0),
        ("Answer: (C)", 0.0),
        ("The answer is C", 0.0),
        ("Answer A, no: Answer C", 1.0),
    ],
)
def test_we_math_takes_the_first_character_after_the_last_mark(text, value):
    assert _judge("we_math", text, "official").value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(C) chair", 1.0),
        ("It is a chair.", 1.0),
        ("chair, not a dog", 0.0),
        ("C", 0.0),
        ("CHAIR", 1.0),
    ],
)
def test_mmau_wants_every_word_of_the_gold_option_and_none_of_the_others(text, value):
    assert _judge("mmau", text, "official").value == value


def test_mmau_lets_words_pass_that_the_gold_option_shares():
    record = {"choices": ["A minor", "C minor"], "answer": "A minor"}
    assert _judge("mmau", "a minor", "official", **record).value == 1.0
    assert _judge("mmau", "C minor or A minor", "official", **record).value == 0.0


@pytest.mark.parametrize(
    ("text", "gold", "right", "status"),
    [
        ("B, D", "B, D", True, "ok"),
        ("BD", "B, D", True, "ok"),
        ("The answer is B and D.", "D, B", True, "ok"),
        ("Answer: (B), (D)", "B, D", True, "ok"),
        ("I think B and D fit", "B, D", True, "ok"),
        ("B", "B, D", False, "ok"),
        ("The answer is A because", "A", True, "ok"),
        ("The answer is C. Option A is wrong", "C", True, "ok"),
        ("Option C is correct because A and B are not visible.", "C", True, "ok"),
        ("There are 3 triangles, so the answer is B", "B", True, "ok"),
        ("The answer is 3.", "3", True, "ok"),
        ("A or C", "C", False, "ambiguous"),
        ("The answer is A or B", "A", False, "ambiguous"),
        ("cannot say", "A", False, "no_answer"),
    ],
)
def test_sets_of_letters_are_read_from_lists_and_from_prose(text, gold, right, status):
    letters = "ABCDEFGHI12345"
    found = score_letter_set(Response(text=text), gold, letters=letters)
    assert (found.correct, found.status) == (right, status)


def test_logicvista_compares_an_extraction_as_sorted_text():
    benchmark = find_benchmark("logicvista")
    item = benchmark.item({"_key": "v1_1", "answer": "B, D", "imagename": "v1_1.png"})
    for extraction, right in (("d, b", True), ("B,D", True), ("B D", False), ("B", False)):
        found = judge(benchmark, item, Response(extraction=extraction), "official")
        assert found.correct is right


def test_options_are_read_however_a_file_writes_them():
    assert read_options("[\"the firm's debt\", 'equity']") == ("the firm's debt", "equity")
    assert read_options('["a", "b"]') == ("a", "b")
    assert read_options(["1", 2]) == ("1", "2")
    assert read_options(None) == read_options("[]") == ()
    for bad in ("a, b", "[a, b]", "__import__('os')", "{'a': 1}"):
        with pytest.raises(ValueError, match="is no list of options"):
            read_options(bad)


def test_a_word_is_no_set_of_letters():
    assert letter_set("Because") == letter_set("ABBA") == frozenset()
    assert first_letter("zzz", "ABC") == ""


@pytest.mark.parametrize(
    ("text", "right", "status"),
    [
        ("Yes, it is.", True, "ok"),
        ("<answer>no</answer>", False, "ok"),
        ("Yes and no", False, "ambiguous"),
        ("I know nothing", False, "no_answer"),
        ("", False, "no_answer"),
    ],
)
def test_yes_and_no_are_words(text, right, status):
    found = score_yes_no(Response(text=text), "Yes")
    assert (found.correct, found.status) == (right, status)


def test_texts_are_compared_without_case_and_articles():
    assert score_text(Response(text="The  Red car."), "a red car").correct
    assert not score_text(Response(text="<answer>redcar</answer>"), "red car").correct
    assert score_text(Response(text="word " * 100), "word").status == "no_answer"
