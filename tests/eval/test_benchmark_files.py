"""What every benchmark file keeps to, on made-up records in its real schema."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from string import ascii_uppercase

import pytest

from mmrl.evals.benchmark import Response, Scored, describe_benchmarks, find_benchmark
from mmrl.evals.questions import as_question, read_questions
from mmrl.evals.scoring import judge

FIXTURES = Path(__file__).parent / "fixtures"


def _letter_of_text(item):
    return ascii_uppercase[item.choices.index(item.answer)]


def _letter_of_place(item):
    return ascii_uppercase[item.answer]


def _letter(item):
    return str(item.answer)


def _detections(item):
    return json.dumps([{"bbox_2d": one["box"], "label": one["label"]} for one in item.answer])


def _mmmu(item):
    return item.answer[0] if isinstance(item.answer, tuple) else item.answer


def _dynamath(item):
    return json.dumps({"solution": "Because.", "short answer": item.answer})


def _mega(item):
    values = list(item.answer.values())
    return f"Answer: {values[0]}" if len(values) == 1 else json.dumps(item.answer)


CASES = {
    "countbench": ("countbench", None, 2, _letter),
    "dynamath": ("dynamath", "sample_variant2", 3, _dynamath),
    "logicvista": ("logicvista", None, 3, _letter),
    "longvideobench": ("longvideobench", None, 2, _letter_of_place),
    "mathverse": ("mathverse", None, 5, _letter),
    "mathvision": ("mathvision", None, 4, _letter),
    "mega_bench_rules": ("mega_bench_rules", None, 4, _mega),
    "mmau": ("mmau", None, 2, lambda item: item.answer),
    "mmmu": ("mmmu", None, 4, _mmmu),
    "mmmu_pro": ("mmmu_pro", None, 2, lambda item: f"So.\nAnswer: {item.answer}"),
    "mmstar": ("mmstar", None, 3, _letter),
    "mvbench": ("mvbench", None, 21, _letter_of_text),
    "odinw": ("odinw", None, 4, _detections),
    "ovdeval": ("ovdeval", None, 3, _detections),
    "refcoco": ("refcoco", None, 3, lambda item: json.dumps(item.answer)),
    "scienceqa": ("scienceqa", None, 3, _letter_of_place),
    "superclevr": ("superclevr", None, 2, lambda item: f"<answer>{item.answer}</answer>"),
    "video_mme": ("video_mme", None, 3, _letter),
    "video_mme_subtitles": ("video_mme", None, 3, _letter),
    "vsi_bench": ("vsi_bench", None, 5, _letter),
    "we_math": ("we_math", None, 10, lambda item: f"Answer: <<{item.answer}>>"),
}
HOSTILE = (
    "",
    " ",
    "<answer>",
    "<answer></answer>",
    "\\boxed{" * 50,
    "{" * 3000,
    "[" * 3000,
    "(" * 3000 + "1",
    "9" * 5000,
    "1e999999",
    "NaN",
    "-inf",
    "\x00\ud800",
    "A" * 5000,
    "[[1, 2, 3, 4]] [nan, 1, 2, 3]",
    '[{"bbox_2d": [NaN, 1, 2, 3], "label": "x"}]',
    '{"short answer": {"short answer": []}}',
    "Answer: {1: {2}, 3: [{4}]}",
    "Answer:" * 2000,
    "(A) (B) (C) or D and E, not F",
    "".join(random.Random(0).choices("ABab12.,:()[]{}<>/\\ \n\"'", k=4000)),
)


def _questions(name, split=None):
    benchmark = find_benchmark(name)
    folder, default, _, _ = CASES[name]
    chosen = benchmark.split(split or default)
    return benchmark, list(read_questions(benchmark, str(FIXTURES / folder), chosen))


def test_every_benchmark_of_the_project_is_tried_here_or_has_a_file_of_its_own():
    own = {"mathvista", "seed_bench_r1", "refcoco_plus", "refcoco_g"}
    assert {found.name for found in describe_benchmarks()} == {*CASES, *own}


@pytest.mark.parametrize("name", CASES)
def test_records_become_items_with_prompts(name):
    benchmark, questions = _questions(name)
    assert len(questions) == CASES[name][2]
    for question in questions:
        assert isinstance(question.item.id, str)
        assert question.row is not None, question.problem
        content = question.row.prompt[0]["content"]
        assert any(part["type"] == "text" and part["text"].strip() for part in content)
        assert {part["type"] for part in content} <= {"text", *benchmark.media}
        assert set(question.item.groups) >= (set(benchmark.groups) & {"task", "dataset"})


@pytest.mark.parametrize("name", CASES)
def test_the_gold_answer_is_right_in_both_modes_and_another_is_not(name):
    benchmark, questions = _questions(name)
    right = CASES[name][3]
    for question in questions:
        item = question.item
        for mode in benchmark.modes:
            found = judge(benchmark, item, Response(text=right(item)), mode)
            assert found.status == "ok", (mode, item.id, found)
            assert found.value == pytest.approx(1.0), (mode, item.id, found)
            wrong = judge(benchmark, item, Response(text="<answer>zebra 77</answer>"), mode)
            assert wrong.correct is not True
            assert wrong.value < 1.0


@pytest.mark.parametrize("name", CASES)
def test_what_a_model_may_write_never_breaks_a_scorer_and_gives_the_same_verdict_twice(name):
    benchmark, questions = _questions(name)
    for question in questions[:5]:
        for text in HOSTILE:
            for mode in benchmark.modes:
                found = judge(benchmark, question.item, Response(text=text), mode)
                assert found.status != "error", (mode, text[:30], found)
                assert 0.0 <= found.value <= 1.0
                assert found == judge(benchmark, question.item, Response(text=text), mode)
                json.dumps(found.detail)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_no_answer_and_gets_nothing_in_strict_mode(name):
    benchmark, questions = _questions(name)
    for question in questions:
        for text in ("", "   ", "I cannot determine this."):
            found = judge(benchmark, question.item, Response(text=text), "strict")
            assert found.correct is not True
            if not text.strip():
                assert (found.status, found.value) == ("no_answer", 0.0)


@pytest.mark.parametrize("name", CASES)
def test_an_item_can_be_read_again_from_what_a_run_keeps_of_it(name):
    benchmark, questions = _questions(name)
    for question in questions:
        kept = json.loads(json.dumps(as_question(benchmark, question)))
        again = benchmark.item(kept["fields"])
        assert (again.id, again.choices) == (question.item.id, question.item.choices)
        assert json.dumps(again.answer) == json.dumps(question.item.answer)
        assert again.groups == question.item.groups


@pytest.mark.parametrize("name", CASES)
def test_an_aggregate_stays_in_its_range_when_clusters_are_drawn_twice(name):
    benchmark, questions = _questions(name)
    if benchmark.aggregate is None:
        return
    right = CASES[name][3]
    scored = []
    for place, question in enumerate(questions):
        text = right(question.item) if place % 2 else ""
        score = judge(benchmark, question.item, Response(text=text), "strict")
        for copy in ("0", "1"):
            cluster = f"{question.item.cluster}/{copy}"
            item = dataclasses.replace(question.item, cluster=cluster)
            scored.append(Scored(item=item, score=score))
    found = benchmark.aggregate(scored)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert benchmark.aggregate([]) is not None


def test_scoring_loads_neither_torch_nor_datasets():
    code = (
        "import sys\n"
        "from mmrl.evals.benchmark import Response, describe_benchmarks, Item\n"
        "found = describe_benchmarks()\n"
        "heavy = {'torch', 'datasets', 'transformers', 'sympy', 'math_verify', 'pycocotools'}\n"
        "print(len(found), sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]", done.stdout
