"""Headlines over whole problems, and what each benchmark shows a model."""

from __future__ import annotations

import base64
import csv
import random
from collections import Counter
from pathlib import Path

import pytest

from mmrl.errors import DataError
from mmrl.evals.benchmark import Response, Scored, find_benchmark
from mmrl.evals.questions import read_questions
from mmrl.evals.scoring import judge

FIXTURES = Path(__file__).parent / "fixtures"


def _questions(name, folder=None, split=None):
    benchmark = find_benchmark(name)
    source = str(FIXTURES / (folder or name))
    return list(read_questions(benchmark, source, benchmark.split(split)))


def _content(question):
    return question.row.prompt[0]["content"]


def _text(question):
    return "\n".join(part["text"] for part in _content(question) if part["type"] == "text")


def _we_math(table):
    """Score problems that are given as (right steps, right whole)."""
    benchmark = find_benchmark("we_math")
    scored = []
    for number, (steps, whole) in enumerate(table):
        kinds = [(str(place), right) for place, right in enumerate(steps, 1)] + [("multi", whole)]
        for step, right in kinds:
            record = {
                "ID": number,
                "key": f"{len(steps)}steps_{step}",
                "answer": "A",
                "option": "A. 1; B. 2",
            }
            item = benchmark.item(record)
            score = judge(benchmark, item, Response(text="Answer: A" if right else "B"), "official")
            scored.append(Scored(item=item, score=score))
    random.Random(0).shuffle(scored)
    assert benchmark.aggregate is not None
    return benchmark.aggregate(scored)


def _four_conditions(table):
    """Return the metric as its definition reads."""
    counts = Counter()
    for steps, whole in table:
        counts["IG"] += all(steps) and not whole
        counts["IK"] += not all(steps) and not whole
        counts["CM_strict"] += all(steps) and whole
        counts["RM_strict"] += not all(steps) and whole
        counts["CM_loose"] += any(steps) and whole
        counts["RM_loose"] += not any(steps) and whole
    return counts


@pytest.mark.parametrize("seed", range(4))
def test_we_maths_four_conditions_are_those_of_their_definition(seed):
    rng = random.Random(seed)
    table = [
        ([rng.random() < 0.6 for _ in range(rng.choice([2, 3]))], rng.random() < 0.5)
        for _ in range(60)
    ]
    counts, found, total = _four_conditions(table), _we_math(table), len(table)
    assert found["IG"] == pytest.approx(counts["IG"] / total)
    assert found["IK"] == pytest.approx(counts["IK"] / total)
    for kind in ("strict", "loose"):
        lost = 0.5 * counts["IG"] + counts[f"RM_{kind}"] + counts["IK"]
        assert found[f"score_{kind}"] == pytest.approx((total - lost) / total)
        mastered = counts[f"CM_{kind}"] + counts[f"RM_{kind}"]
        assert found[f"RM_{kind}"] == pytest.approx(counts[f"RM_{kind}"] / mastered)
        assert found[f"CM_{kind}"] == pytest.approx(counts[f"CM_{kind}"] / total)


def test_we_math_worked_by_hand():
    table = [([True, True], False), ([True, False], True), ([False, False, False], True)]
    found = _we_math(table)
    # IG 1, RM strict 2, RM loose 1
    assert found["score_strict"] == pytest.approx(1 - 2.5 / 3)
    assert found["score_loose"] == pytest.approx(1 - 1.5 / 3)


def test_we_math_tells_problems_of_two_and_three_steps_apart_that_share_an_id():
    questions = _questions("we_math")
    assert len({question.item.cluster for question in questions}) == 3
    assert questions[0].item.choices == ("3", "4", "5", "No correct answer")


def test_mmmu_shows_pictures_where_their_marks_stand():
    questions = _questions("mmmu")
    kinds = [part["type"] for part in _content(questions[1])]
    assert kinds == ["text", "image", "text", "image", "text", "image", "text"]
    assert "<image" not in _text(questions[1])
    assert "(A) the firm's debt" in _text(questions[1])
    assert questions[0].item.groups["subject"] == "Art_Theory"
    assert questions[0].item.groups["domain"] == "Art and Design"
    assert "single word or phrase" in _text(questions[2])
    assert questions[3].item.answer == ("transformation", "Bacterial transformation")


def test_a_mark_without_its_picture_is_said():
    benchmark = find_benchmark("mmmu")
    item = benchmark.item({"id": "dev_Art_1", "question": "<image 2>", "options": "['a', 'b']"})
    with pytest.raises(DataError, match="image_2 is empty"):
        benchmark.prompt(item, Path())


def test_mmmu_pro_shows_the_picture_that_holds_the_question():
    (question,) = _questions("mmmu_pro", split="vision")
    assert [part["type"] for part in _content(question)] == ["text", "image"]
    assert len(question.item.choices) == 10


def test_scienceqas_pictured_half_keeps_its_ids():
    every, pictured = _questions("scienceqa"), _questions("scienceqa", split="test_image")
    assert [one.item.id for one in every] == ["0", "1", "2"]
    assert [one.item.id for one in pictured] == ["0"]
    assert [part["type"] for part in _content(every[1])] == ["text"]


def test_dynamath_reads_each_variant_by_its_split(tmp_path):
    for number in range(1, 11):
        text = (FIXTURES / "dynamath" / f"sample_variant{1 + number % 2}.jsonl").read_text()
        (tmp_path / f"sample_variant{number}.jsonl").write_text(text)
    benchmark = find_benchmark("dynamath")
    every = list(read_questions(benchmark, str(tmp_path), benchmark.split("all")))
    assert len(every) == 30
    assert {one.item.cluster for one in every} == {"1", "2", "3"}
    second = _questions("dynamath", split="sample_variant2")
    assert [one.item.id for one in second] == ["1/2", "2/2", "3/2"]


def test_video_mme_shows_subtitles_where_there_are_any():
    short, _, long = _questions("video_mme_subtitles", folder="video_mme")
    assert "Hello there\nA second line" in _text(short)
    assert "-->" not in _text(short)
    assert "subtitles" not in _text(long)
    assert _content(short)[0]["type"] == "video"
    assert "Hello" not in _text(_questions("video_mme")[0])


def test_video_mme_prints_the_authors_denominator_too():
    benchmark = find_benchmark("video_mme")
    scored = []
    for question, text in zip(_questions("video_mme"), ("C", "no idea", "A"), strict=True):
        score = judge(benchmark, question.item, Response(text=text), "official")
        scored.append(Scored(item=question.item, score=score))
    assert benchmark.aggregate is not None
    found = benchmark.aggregate(scored)
    assert found == {"accuracy": pytest.approx(1 / 3), "of_answered": pytest.approx(1 / 2)}


def test_mvbench_finds_every_tasks_videos():
    questions = _questions("mvbench")
    assert len({question.item.groups["task"] for question in questions}) == 20
    one = _questions("mvbench", split="action_sequence")[1]
    assert one.item.id == "action_sequence/1"
    path = str(_content(one)[0]["video"].source)
    assert path.endswith("video/star/Charades_v1_480/b.mp4")


def test_longvideobench_reads_both_of_its_forms():
    benchmark = find_benchmark("longvideobench")
    flat = {f"option{n}": text for n, text in enumerate(["x", "y", "N/A", "N/A", "N/A"])}
    item = benchmark.item({"id": "1", "correct_choice": 1, **flat})
    assert item.choices == ("x", "y")
    hidden = benchmark.item({"id": "1", "candidates": ["x", "y"]})
    assert judge(benchmark, hidden, Response(text="A"), "strict").status == "error"


def test_mmau_plays_the_sound_and_carries_its_version():
    question = _questions("mmau")[0]
    assert _content(question)[0]["type"] == "audio"
    assert "v05.15.25" in find_benchmark("mmau").version
    assert question.item.groups["sub_category"] == "Acoustic Source Inference"


def test_mathverses_and_mmstars_options_stand_in_the_question():
    assert _questions("mathverse")[0].item.choices == ("40°", "50°", "60°", "70°")
    assert _questions("mathverse")[2].item.choices == ()
    assert _questions("mmstar")[0].item.choices == ("a dog", "a cat", "a chair", "a table")
    assert _questions("mmstar")[2].item.choices == ()


def test_mmstars_own_table_holds_its_pictures(tmp_path):
    data = base64.b64encode(b"\x89PNG" + bytes(60)).decode()
    rows = [
        ["index", "image", "question", "answer", "category", "l2_category"],
        ["0", data, "Which?\nOptions: A: a, B: b", "B", "math", "geometry"],
        ["1", "0", "And now? Options: A: a, B: b", "A", "math", "geometry"],
    ]
    file = tmp_path / "MMStar.tsv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, delimiter="\t").writerows(rows)
    benchmark = find_benchmark("mmstar")
    for source in (file, tmp_path):
        first, second = read_questions(benchmark, str(source), benchmark.split())
        assert (first.item.id, first.item.choices, second.item.answer) == ("0", ("a", "b"), "A")
        pictures = [next(m.source for m in one.row.media) for one in (first, second)]
        assert pictures[0] == pictures[1] == b"\x89PNG" + bytes(60)
    file.write_text("index\timage\n7\t3\n")
    with pytest.raises(DataError, match="not a table of questions"):
        list(read_questions(benchmark, str(file), benchmark.split()))


def test_math_vision_does_not_list_options_that_are_mere_letters():
    pictured, _, listed, _ = _questions("mathvision")
    assert "(A)" not in _text(pictured)
    assert "(B) \\frac{5}{2}" in _text(listed)


def test_mega_bench_says_that_it_is_a_subset():
    benchmark = find_benchmark("mega_bench_rules")
    assert "not the MEGA-Bench core number" in benchmark.summary
    assert not benchmark.published
    tasks = {question.item.groups["task"] for question in _questions("mega_bench_rules")}
    assert tasks == {"letters", "function", "names"}
