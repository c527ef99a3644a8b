"""SEED-Bench-R1: the first-character rule, its successor's rule, ids, levels and missing videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrl.evals.benchmark import Response, find_benchmark
from mmrl.evals.questions import read_questions
from mmrl.evals.scoring import judge
from mmrl.evals.settings import EvalSettings

FOLDER = Path(__file__).parent / "fixtures" / "seed_bench_r1"
BENCHMARK = find_benchmark("seed_bench_r1")
CHOICES = dict(zip("abcd", ["open tap", "wash knife", "cut apple", "rinse cloth"], strict=True))


def _item(gold="A", **fields):
    choices = {f"choice_{letter}": text for letter, text in CHOICES.items()}
    return BENCHMARK.item({"sample_id": 1, "golden_choice_idx": gold, **choices, **fields})


def _verdict(text, gold, mode, **response):
    score = judge(BENCHMARK, _item(gold), Response(text=text, **response), mode)
    return score.correct, score.status


TABLE = [
    # response, gold, official, GRPO-CARE, strict, status of strict
    ("<think>x</think><answer>A.</answer>", "A", 1, 0, 1, "ok"),
    ("<think>x</think><answer>B</answer>", "A", 0, 0, 0, "ok"),
    ("<think>x</think><answer>A</answer>", "A", 1, 1, 1, "ok"),
    ("I think A", "A", 0, 0, 0, "no_answer"),
    ("<answer> D. rinse cloth </answer>", "D", 1, 0, 1, "ok"),
    ("<answer>cut apple</answer>", "C", 0, 0, 1, "ok"),
    ("<answer>Both A and B</answer>", "B", 1, 0, 0, "ambiguous"),
    ("<answer></answer>", "A", 0, 0, 0, "no_answer"),
    ("<think>x</think>", "A", 0, 0, 0, "truncated"),
    ("<think>x", "A", 0, 0, 0, "truncated"),
    ("C", "C", 0, 1, 0, "no_answer"),
    ("<answer>c</answer>", "C", 0, 0, 1, "ok"),
    ("<answer>\nA\nbecause</answer>", "A", 1, 0, 1, "ok"),
]


@pytest.mark.parametrize(("text", "gold", "official", "care", "strict", "status"), TABLE)
def test_four_rules_on_the_same_responses(text, gold, official, care, strict, status):
    assert _verdict(text, gold, "official")[0] is bool(official)
    assert _verdict(text, gold, "grpo_care")[0] is bool(care)
    assert _verdict(text, gold, "strict") == (bool(strict), status)


def test_lenient_reads_a_response_without_a_tag():
    assert _verdict("C", "C", "lenient") == (True, "ok")
    assert _verdict("I think A", "A", "lenient") == (True, "ok")
    assert _verdict("", "A", "lenient") == (False, "no_answer")


def test_officially_the_first_tag_counts_and_case_matters():
    both = "<answer>A</answer> no, <answer>B</answer>"
    assert _verdict(both, "A", "official")[0]
    assert not _verdict(both, "B", "official")[0]
    assert not _verdict("<answer>a</answer>", "A", "official")[0]
    assert _verdict(both, "B", "strict")[0]


def test_a_hundred_thousand_open_tags_are_no_answer_at_once():
    assert _verdict("<answer>" * 100_000, "A", "official") == (False, "no_answer")


def test_a_record_without_a_gold_letter_is_an_error_that_counts():
    assert _verdict("<answer>A</answer>", "", "official") == (False, "error")


def _read(split):
    return list(read_questions(BENCHMARK, str(FOLDER), BENCHMARK.split(split)))


def test_ids_are_texts_and_unique_over_all_levels():
    ids = [question.item.id for question in _read("validation")]
    assert ids == ["L1/17", "L1/18", "L2/17", "L3/3f2b_0", "L3/3f2b_1"]


@pytest.mark.parametrize(("split", "count"), [("validation_L1", 2), ("validation_L2", 1)])
def test_a_level_can_be_run_alone(split, count):
    assert len(_read(split)) == count


def test_only_the_third_level_has_domains():
    domains = {q.item.id: q.item.groups.get("domain") for q in _read("validation")}
    assert domains["L3/3f2b_0"] == "Work"
    assert domains["L1/17"] is None


def test_a_row_without_progress_shows_the_picture_alone():
    kinds = {q.item.id: [medium.kind for medium in q.row.media] for q in _read("validation")}
    assert kinds["L1/17"] == ["video", "image"]
    assert kinds["L1/18"] == ["image"]
    assert kinds["L3/3f2b_1"] == ["image"]


def test_media_are_found_from_the_folder_and_from_a_single_file():
    file = FOLDER / "annotations" / "validation_L2.jsonl"
    [alone] = read_questions(BENCHMARK, str(file), BENCHMARK.split())
    for question in (alone, *_read("validation")):
        for medium in question.row.media:
            assert medium.source.is_file()


def test_frames_are_those_of_the_authors_unless_the_user_says_otherwise():
    own = BENCHMARK.media_settings
    tasks = {"seed_bench_r1": {}}
    settings = EvalSettings.model_validate({"tasks": tasks, "out": "x"})
    assert settings.media(own).video_max_frames == 16
    given = EvalSettings.model_validate(
        {"tasks": tasks, "out": "x", "media_keys": {"video_max_frames": 8}}
    )
    assert (given.media(own).video_max_frames, given.media(own).video_fps) == (8, 2.0)
    assert settings.decoding(BENCHMARK.decoding).max_new_tokens == 256


@pytest.mark.parametrize("gold", [None, "", 1, "E"])
@pytest.mark.parametrize("mode", BENCHMARK.modes)
def test_a_record_without_a_gold_letter_is_an_error_in_every_mode(gold, mode):
    assert _verdict("<answer>A</answer>", gold, mode) == (False, "error")
