"""`mmrl eval compare`: differences, intervals and tests against naive computations; runs that do not
hold the same items.
"""

from __future__ import annotations

import itertools
import json
import random
from fractions import Fraction

import numpy as np
import pytest

from mmrl.cli import run
from mmrl.evals.compare import compare
from mmrl.evals.finished import read_finished
from mmrl.evals.stats import mcnemar
from mmrl.project import load_project

CHOICES = ["3/11", "8/11", "6/11", "3/5"]
SOURCES = ("GeoQA+", "IconQA", "PlotQA")


def _line(number, *, right, response=None, **fields):
    letter = "B" if right else "C"
    return {
        "pid": str(number),
        "question": f"What is {number}?",
        "image": f"images/{number // 2}.jpg",
        "question_type": "multi_choice",
        "answer_type": "text",
        "choices": CHOICES,
        "precision": None,
        "answer": "8/11",
        "metadata": {"source": SOURCES[number % 3]},
        "response": f"<answer>{letter}</answer>" if response is None else response,
        **fields,
    }


@pytest.fixture
def scored(tmp_path, capsys):
    """Score lines with the command; return the file that it wrote."""

    def write(name, lines, task="mathvista"):
        raw = tmp_path / f"{name}.raw.jsonl"
        raw.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert run(["eval", "score", f"task={task}", str(raw)]) == 0
        file = tmp_path / f"{name}.jsonl"
        file.write_text(capsys.readouterr().out)
        return file

    return write


@pytest.fixture(scope="module")
def project():
    return load_project(None)


def _compared(first, second, project, **keys):
    found = compare(read_finished(first, project), read_finished(second, project), **keys)
    return found["tasks"]["mathvista"]


def _verdicts(seed, count, chance):
    draw = random.Random(seed)
    return [draw.random() < chance for _ in range(count)]


def test_the_difference_and_its_interval_are_those_of_a_naive_loop(scored, project):
    ours, theirs = _verdicts(1, 40, 0.7), _verdicts(2, 40, 0.5)
    first = scored("a", [_line(n, right=right) for n, right in enumerate(ours)])
    second = scored("b", [_line(n, right=right) for n, right in enumerate(theirs)])
    found = _compared(first, second, project, resamples=300)["modes"]["strict"]

    pictures = [(2 * n, 2 * n + 1) for n in range(20)]
    draws = np.random.default_rng(0).integers(0, 20, size=(300, 20), dtype=np.int32)
    means = []
    for draw in draws.tolist():
        items = [item for cluster in draw for item in pictures[cluster]]
        means.append(sum(ours[item] - theirs[item] for item in items) / len(items))
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["a"] == sum(ours) / 40
    assert found["b"] == sum(theirs) / 40
    assert found["difference"] == pytest.approx((sum(ours) - sum(theirs)) / 40, abs=1e-6)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-6)
    assert found["wins"] == sum(a and not b for a, b in zip(ours, theirs, strict=True))
    assert found["win_ids"] == [str(n) for n in range(40) if ours[n] and not theirs[n]]
    assert found["loss_ids"] == [str(n) for n in range(40) if theirs[n] and not ours[n]]
    assert found["both_right"] == sum(a and b for a, b in zip(ours, theirs, strict=True))
    assert found["both_wrong"] == sum(not a and not b for a, b in zip(ours, theirs, strict=True))


def test_the_items_of_one_picture_are_one_draw(scored, project):
    first = scored("a", [_line(n, right=n < 20) for n in range(40)])
    second = scored("b", [_line(n, right=False) for n in range(40)])
    found = _compared(first, second, project)
    assert (found["n"], found["clusters"]) == (40, 20)
    strict = found["modes"]["strict"]
    # 20 coins of one half: a standard error of 11 points, where 40 would have 8
    assert strict["high"] - strict["low"] > 0.40


def test_p_is_mcnemars_counted_over_every_outcome(scored, project):
    ours = [True] * 8 + [False] * 2 + [True] * 3
    theirs = [False] * 8 + [True] * 2 + [True] * 3
    first = scored("a", [_line(n, right=right) for n, right in enumerate(ours)])
    second = scored("b", [_line(n, right=right) for n, right in enumerate(theirs)])
    found = _compared(first, second, project)["modes"]["strict"]
    as_far = sum(abs(sum(coins) - 5) >= 3 for coins in itertools.product((0, 1), repeat=10))
    assert found["p"] == pytest.approx(float(Fraction(as_far, 2**10)), abs=1e-6)
    assert found["test"] == "McNemar, exact"


def test_mcnemar_gives_the_published_value():
    assert round(mcnemar(175, 148), 3) == 0.148
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


def test_groups_are_compared_each_on_its_own(scored, project):
    first = scored("a", [_line(n, right=n % 3 == 0) for n in range(12)])
    second = scored("b", [_line(n, right=n % 3 == 1) for n in range(12)])
    groups = _compared(first, second, project)["modes"]["strict"]["groups"]["source"]
    assert {name: part["difference"] for name, part in groups.items()} == {
        "GeoQA+": 1.0,
        "IconQA": -1.0,
        "PlotQA": 0.0,
    }
    assert (groups["GeoQA+"]["n"], groups["GeoQA+"]["wins"], groups["GeoQA+"]["p"]) == (4, 4, 0.125)


def test_a_metric_that_is_no_mean_of_items_is_compared_as_it_is(scored, project):
    # MMStar is the mean over categories: one of six items, one of two
    def lines(right):
        return [
            {
                "index": n,
                "question": "Which?\nOptions: A: a, B: b",
                "answer": "A",
                "category": "math" if n < 6 else "logic",
                "l2_category": "x",
                "response": "A" if n in right else "B",
            }
            for n in range(8)
        ]

    first, second = scored("a", lines({0, 6}), "mmstar"), scored("b", lines({1, 2, 3}), "mmstar")
    found = compare(read_finished(first, project), read_finished(second, project))
    strict = found["tasks"]["mmstar"]["modes"]["strict"]
    assert strict["a"] == pytest.approx((1 / 6 + 1 / 2) / 2, abs=1e-6)
    assert strict["b"] == pytest.approx((3 / 6 + 0) / 2, abs=1e-6)
    assert strict["difference"] == pytest.approx(strict["a"] - strict["b"], abs=2e-6)
    assert strict["low"] < strict["difference"] < strict["high"]
    assert (strict["wins"], strict["losses"]) == (2, 3)


def test_several_samples_are_averaged_and_the_test_says_so(scored, project):
    lines = [_line(n, right=sample < n, sample=sample) for n in range(4) for sample in range(2)]
    first = scored("a", lines)
    second = scored("b", [_line(n, right=True) for n in range(4)])
    found = _compared(first, second, project)
    assert found["samples"] == [2, 1]
    strict = found["modes"]["strict"]
    assert strict["a"] == (0 + 0.5 + 1 + 1) / 4
    assert (strict["wins"], strict["losses"], strict["same"]) == (0, 2, 2)
    assert strict["test"] == "sign test, exact"
    assert "both_right" not in strict


def test_both_modes_are_compared(scored, project):
    first = scored("a", [_line(0, right=True, response=""), _line(1, right=True)])
    second = scored("b", [_line(0, right=True), _line(1, right=True)])
    modes = _compared(first, second, project)["modes"]
    assert modes["strict"]["loss_ids"] == ["0"]
    assert set(modes) == {"official", "strict"}
    assert list(_compared(first, second, project, mode="official")["modes"]) == ["official"]


def test_an_item_that_one_run_lacks_is_an_error_that_names_it(scored, mmrl_eval):
    first = scored("a", [_line(n, right=True) for n in range(9)])
    second = scored("b", [_line(n, right=True) for n in range(1, 8)])
    code, out, err = mmrl_eval("compare", first, second)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "2 (0, 8) only in A" in err
    assert "none only in B" in err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answer": "3/5"}, 'its answer is "8/11" in A and "3/5" in B'),
        ({"choices": CHOICES[::-1]}, "its choices is"),
        ({"question": "What is not?"}, "its question is"),
    ],
)
def test_an_id_that_means_two_questions_is_an_error(scored, mmrl_eval, fields, said):
    first = scored("a", [_line(3, right=True)])
    second = scored("b", [_line(3, right=True) | fields])
    code, _, err = mmrl_eval("compare", first, second)
    assert code == 2
    assert f"item 3 is not the same in A and B: {said}" in err


def test_verdicts_of_two_versions_of_a_scorer_are_not_compared(scored, mmrl_eval):
    first = scored("a", [_line(3, right=True)])
    second = first.with_name("old.jsonl")
    *lines, summary = first.read_text().splitlines()
    old = json.loads(summary)
    old["summary"]["version"] = "0-old"
    second.write_text("\n".join([*lines, json.dumps(old)]) + "\n")
    code, _, err = mmrl_eval("compare", first, second)
    assert code == 2
    assert "rescore" in err


def test_what_is_no_evaluation_is_one_line(scored, mmrl_eval, tmp_path):
    first = scored("a", [_line(3, right=True)])
    raw = first.with_name("a.raw.jsonl")
    for other in (raw, tmp_path / "nowhere", tmp_path):
        code, _, err = mmrl_eval("compare", first, other)
        assert code == 2
        assert len(err.splitlines()) == 1
    code, _, err = mmrl_eval("compare", first, first, "mode=stict")
    assert (code, len(err.splitlines())) == (2, 1)
    code, _, err = mmrl_eval("compare", first, first, "resample=10")
    assert "resamples" in err
    code, _, err = mmrl_eval("compare", first, first, "tasks=mathvisa")
    assert "mathvista" in err


def test_tables_and_json_tell_the_same(scored, mmrl_eval):
    first = scored("a", [_line(n, right=n < 6) for n in range(9)])
    second = scored("b", [_line(n, right=n > 3) for n in range(9)])
    code, out, _ = mmrl_eval("compare", first, second)
    assert code == 0
    assert "wins of A (4): 0, 1, 2, 3" in out
    assert "losses of A (3): 6, 7, 8" in out
    assert "may be chance" in out
    code, out, _ = mmrl_eval("compare", first, second, "--json")
    found = json.loads(out)
    assert found["tasks"]["mathvista"]["modes"]["strict"]["win_ids"] == ["0", "1", "2", "3"]
    again = mmrl_eval("compare", first, second, "--json")[1]
    assert again == out


@pytest.fixture
def mmrl_eval(capsys):
    """Run `mmrl eval` with arguments; return code, output and complaints."""

    def call(*arguments):
        capsys.readouterr()
        code = run(["eval", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call
