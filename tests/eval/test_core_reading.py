"""Where an answer stands and which option it means, on the sentences that public parsers disagree on."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Response,
    Scored,
    Split,
    judged,
    user_turn,
)
from mmrl.evals.reading import find_answer, is_cut, read_choice, score_choice
from mmrl.evals.records import read_records
from mmrl.evals.scoring import by_item, judge, judge_all
from mmrl.evals.summary import summarise

CHOICES = ("dog", "cat", "chair", "table")
ITEM = Item(id="1", answer="C", choices=CHOICES)

RIGHT = [
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


def _strict(text, **response):
    score = score_choice(ITEM, Response(text=text, **response), gold="C")
    return score.normalised, score.status


@pytest.mark.parametrize("text", RIGHT)
def test_ordinary_sentences_are_read(text):
    assert _strict(text) == ("C", "ok")


@pytest.mark.parametrize(
    "text",
    [
        "Looking at the picture, A dog is not there. It's C.",
        "It cannot be A, B, or D; the only remaining option is C.",
        "Definitely not A. Not B either. D? No. C.",
        "C. A is a dog, B is a cat, D is a table.",
        "A is incorrect. B is incorrect. C is correct. D is incorrect.",
        "We can rule out A, B and D. Hence C remains.",
        "I prefer C over B",
        "C (chair), which is what (A) and (B) are not",
        "Answer: C. The first one is A, the second one is B.",
        "At first the answer seems to be A. However, on reflection the answer is C.",
        "Type A blood is shown; answer C",
        "\u7b54\u6848\u662fC\uff0c\u56e0\u4e3aA\u548cB\u90fd\u4e0d\u5bf9",
        "\u4e0d\u662fA,\u662fC",
        "\uc815\ub2f5\uc740 C\uc785\ub2c8\ub2e4.",
        "La respuesta correcta es la C",
        r"The answer is \(C\).",
    ],
)
def test_letters_that_are_ruled_out_or_named_in_passing_do_not_count(text):
    assert _strict(text) == ("C", "ok")


@pytest.mark.parametrize(
    "text",
    [
        "Vitamin C is in oranges.",
        "Plan B is a good plan",
        "N/A",
        "Section C.2 says nothing",
        "Point A is left of point B.",
        "In triangle ABC, AB = AC. Point D lies on BC.",
        "angle A = 30 and B = 60, so C = 90",
        "A dog is not visible.",
        "There is no dog in the picture.",
        "Anything but C",
        "\u7b54\u6848\u4e0d\u662fA",
    ],
)
def test_a_letter_or_word_that_is_no_choice_is_no_answer(text):
    assert _strict(text) == (None, "no_answer")


@pytest.mark.parametrize(
    "text",
    [
        "A B",
        "A: C",
        "A. dog\nB. cat\nC. chair\nD. table",
        "A) dog? B) cat? C) chair? D) table?",
        "The answer is A. No wait, actually C.",
        "The answer is C (or D if the picture is mirrored).",
        "Probably C, or maybe D",
        "A is correct. B is correct.",
        "I first guess it is A. Now I guess it is B.",
        "La r\u00e9ponse est A ou C",
        "I cannot see it, so I cannot choose A, B, C or D.",
    ],
)
def test_a_text_that_names_several_options_and_does_not_choose_is_never_guessed(text):
    letter, status = _strict(text)
    assert letter is None
    assert status in ("ambiguous", "no_answer")


@pytest.mark.parametrize(
    ("choices", "text", "letter"),
    [
        (("3", "4", "14"), "There are 14 of them", "C"),
        (("3", "4", "14"), "1.4 or -4 or 4% or 4,000", None),
        (("Yes", "No"), "There is no way to tell.", None),
        (("Yes", "No"), "No, there is none.", "B"),
        (("Yes", "No"), "Yes and no", None),
        (("$\\frac12$", "$2$"), "$\\frac12$", "A"),
        (tuple("abcdefghij"), "I cannot tell", None),
        (tuple("abcdefghij"), "The answer is I", "I"),
        (("I only", "II only", "I and II"), "I and II", "C"),
    ],
)
def test_options_that_are_numbers_short_words_or_numerals_are_read_as_wholes(choices, text, letter):
    assert read_choice(find_answer(Response(text=text)), choices).letter == (letter or "")


@pytest.mark.parametrize("text", ["", " ", "I cannot determine the answer.", "It is 42."])
def test_a_refusal_is_no_answer(text):
    assert _strict(text) == (None, "no_answer")


@pytest.mark.parametrize(
    "text", ["A or B", "Both A and B", "a dog or a cat", "<answer>C, D</answer>"]
)
def test_several_options_are_ambiguous(text):
    assert _strict(text) == (None, "ambiguous")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think>A</think> B", ("B", "whole")),
        ("<think><answer>A</answer></think><answer>B</answer>", ("B", "tag")),
        ("<answer>A</answer> no <answer>B</answer>", ("B", "tag")),
        (r"\boxed{A} <answer>B</answer>", ("B", "tag")),
        (r"so \boxed{\frac{1}{2}}", (r"\frac{1}{2}", "boxed")),
        ("A</think>B", ("B", "whole")),
    ],
)
def test_the_answer_stands_after_the_thinking(text, found):
    answer = find_answer(Response(text=text))
    assert (answer.text, answer.how) == found


def test_an_extraction_is_taken_as_it_is():
    assert find_answer(Response(text="A", extraction=" B ")).text == "B"


@pytest.mark.parametrize(
    ("text", "stop", "cut"),
    [
        ("C", None, False),
        ("C", "length", True),
        ("<think>C", "eos", True),
        ("<think>C</think>", None, True),
        ("<think>C</think>", "eos", False),
        ("<think>a</think>b<think>c", None, True),
        ("<think>a</think> C", None, False),
    ],
)
def test_a_thought_that_was_not_ended_was_cut(text, stop, cut):
    assert is_cut(Response(text=text, stop=stop)) is cut


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("C", "letter"),
        ("It is a chair.", "text"),
        ("so the answer is C", "cue"),
        (r"\boxed{C}", "boxed"),
    ],
)
def test_how_the_answer_was_found_is_told(text, how):
    assert read_choice(find_answer(Response(text=text)), CHOICES).how == how


@pytest.mark.parametrize(
    "text", ["A or " * 50_000, "<answer>" * 50_000, "(" * 200_000, "not A, " * 40_000]
)
def test_hostile_text_is_read_in_no_time(text):
    began = time.monotonic()
    _strict(text)
    assert time.monotonic() - began < 2


def _benchmark(**changes):
    plain = Benchmark(
        name="toy",
        version="1",
        hub="",
        summary="",
        splits=(Split(name="test"),),
        item=lambda record: Item(id=str(record["id"]), answer=record["answer"], fields=record),
        prompt=lambda item, folder: user_turn(str(item.fields["question"])),
        score=lambda item, response, mode: judged(
            response.text == item.answer,
            answer=response.text,
            normalised=response.text,
            how="whole",
        ),
    )
    return dataclasses.replace(plain, **changes)


def test_a_scorer_that_fails_is_an_error_and_wrong():
    def fail(item, response, mode):
        raise ZeroDivisionError("no")

    score = judge(_benchmark(score=fail), ITEM, Response(text="C"), "strict")
    assert (score.status, score.value, score.correct) == ("error", 0.0, False)
    assert score.detail == "ZeroDivisionError: no"


def test_a_cut_response_keeps_what_its_authors_rules_give_it():
    response = Response(text="C", stop="length")
    scores = judge_all(_benchmark(), ITEM, response, ("official", "strict"))
    assert (scores["official"].correct, scores["official"].status) == (True, "ok")
    assert (scores["strict"].correct, scores["strict"].status) == (False, "truncated")


def _worst(scored: list[Scored]) -> dict[str, float]:
    clusters: dict[str, list[float]] = {}
    for found in scored:
        clusters.setdefault(found.item.cluster, []).append(found.score.value)
    worst = [min(values) for values in clusters.values()]
    return {"worst": sum(worst) / len(worst), "clusters": float(len(worst))}


def test_a_metric_that_is_no_mean_has_its_own_numbers_and_interval():
    benchmark = _benchmark(aggregate=_worst, modes=("strict",))
    verdicts = []
    for seed in range(20):
        for variant in range(3):
            item = Item(id=f"{seed}-{variant}", answer="C", cluster=str(seed))
            right = seed % 2 == 0 or variant == 0
            response = Response(text="C" if right else "A", stop="eos")
            verdicts.append((item, judge_all(benchmark, item, response, benchmark.modes)))
    found = summarise(benchmark, by_item(verdicts), benchmark.modes)["modes"]["strict"]
    assert (found["name"], found["value"]) == ("worst", 0.5)
    assert found["numbers"] == {"worst": 0.5, "clusters": 20.0}
    assert 0.2 < found["low"] < 0.5 < found["high"] < 0.8


def test_samples_of_an_item_are_averaged_before_anything_else():
    benchmark = _benchmark(modes=("strict",), groups=("kind",))
    verdicts = [
        (
            Item(id=name, answer="C", groups={"kind": ("x", name)}),
            judge_all(benchmark, ITEM, Response(text=text), benchmark.modes),
        )
        for name, texts in {"a": "CCAA", "b": "AAAA"}.items()
        for text in texts
    ]
    summary = summarise(benchmark, by_item(verdicts), benchmark.modes)
    found = summary["modes"]["strict"]
    assert (summary["n"], summary["samples"], found["value"]) == (2, 4, 0.25)
    assert found["groups"]["kind"]["x"]["n"] == 2
    assert found["groups"]["kind"]["a"]["value"] == 0.5
    assert found["maj@k"] == {"4": 0.25}
    assert found["status"] == {"ok": 8}


@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "data/test-00000-of-00001.parquet"])
def test_records_are_found_in_a_copy_of_the_hub(tmp_path, name):
    records = [{"id": 1, "answer": None}, {"id": 2, "answer": "x"}]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        path.write_text("\ufeff" + "\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")
    assert list(read_records(tmp_path, Split(name="test"))) == records
    assert list(read_records(path, Split(name="test"))) == records
