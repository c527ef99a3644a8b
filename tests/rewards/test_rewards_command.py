from __future__ import annotations

import json

import pytest

from mmrl.cli import run


def lines(tmp_path, capsys, *given, options=()):
    file = tmp_path / "lines.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in given]
    file.write_bytes("\n".join(texts).encode("utf-8", "surrogatepass") + b"\n")
    assert run(["rewards", "score", str(file), *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_line_comes_back_in_order_with_its_verdict(tmp_path, capsys):
    given = [
        {"verifier": "math", "params": {}, "answer": "1/2", "text": r"\boxed{0.5}", "mine": [1]},
        {"verifier": "number", "answer": "4", "text": "<answer>5</answer>"},
        {"verifier": "math", "answer": "2", "text": r"\boxed{3}"},
    ]
    found = lines(tmp_path, capsys, *given)
    assert found == [
        {**line, "score": score, "status": "ok", "parts": {}}
        for line, score in zip(given, (1.0, 0.0, 0.0), strict=True)
    ]


def test_a_bad_line_says_so_and_the_rest_goes_on(tmp_path, capsys):
    found = lines(
        tmp_path,
        capsys,
        "not json",
        "",
        "[1]",
        {"verifier": "exat", "answer": "a", "text": "a"},
        {"verifier": "number", "params": {"treshold": 0.5}, "answer": "1", "text": "1"},
        {"verifier": "exact", "answer": "a"},
        {"verifier": "exact", "answer": "a", "text": 3},
        {"verifier": "exact", "answer": "a", "text": "a", "progress": 2},
        {"verifier": "majority_vote", "answer": "a", "text": "a"},
        {"verifier": "number", "answer": "many", "text": "<answer>1</answer>"},
        '{"a": ' + "[" * 100_000,
        {"verifier": "exact", "answer": "a", "text": "<answer>a</answer>"},
    )
    assert [line["status"] for line in found] == ["error"] * 9 + ["bad_gold", "error", "ok"]
    assert [line["score"] for line in found] == [None] * 11 + [1.0]
    details = [line.get("detail", "") for line in found]
    assert "line 1 is not JSON" in details[0]
    assert "did you mean 'exact'?" in details[3]
    assert "no parameter 'treshold'" in details[4]
    assert "there is no 'text'" in details[5]
    assert "'progress' is 2" in details[7]
    assert "'texts', a list" in details[8]


def test_a_group_line_has_texts_and_gets_lists(tmp_path, capsys):
    texts = [r"\boxed{1}", r"\boxed{1}", r"\boxed{2}"]
    line = {"verifier": "length_band", "answer": "1", "texts": texts}
    told, graded, counted = lines(
        tmp_path,
        capsys,
        {**line, "lengths": [400, 600, 400]},
        {**line, "lengths": [400, 400, 400], "accuracies": [1, 0, 1]},
        {**line, "params": {"low": 1, "high": 1}},
    )
    assert told["score"] == [0.2, 0.0, 0.0]
    assert told["status"] == ["ok", "ok", "ok"]
    assert told["parts"] == [{}, {}, {}]
    assert graded["score"] == [0.2, 0.0, 0.2]
    assert counted["score"] == [0.2, 0.2, 0.0]


def test_what_a_term_depends_on_is_judged_by_the_rows_verifier(tmp_path, capsys):
    text = r"<think>x</think><answer>\frac{1}{2}</answer>"
    line = {"verifier": "hard_format_result", "answer": "0.5", "text": text}
    by_math, by_exact, told = lines(
        tmp_path, capsys, {**line, "row": {"verifier": "math"}}, line, {**line, "accuracy": 1.0}
    )
    assert [by_math["score"], by_exact["score"], told["score"]] == [1.0, 0.0, 1.0]


def test_progress_moves_a_schedule(tmp_path, capsys):
    line = {"verifier": "number", "params": {"abs_tol": {"0.0": 1, "0.5": 0}}, "answer": "1"}
    line["text"] = "<answer>2</answer>"
    early, late = lines(tmp_path, capsys, {**line, "progress": 0.5}, {**line, "progress": 0.51})
    assert (early["score"], late["score"]) == (1.0, 0.0)


def test_a_rows_options_reach_the_verifier(tmp_path, capsys):
    line = {"verifier": "choice", "answer": "B", "text": "<answer>a cat</answer>"}
    inner = {**line, "row": {"extra": {"choices": ["a dog", "a cat"]}}}
    outer = {**line, "row": {"choices": ["a dog", "a cat"]}}
    assert [found["score"] for found in lines(tmp_path, capsys, inner, outer)] == [1.0, 1.0]


def test_a_judgement_that_takes_too_long_is_a_timeout_of_its_line(tmp_path, capsys):
    slow = {"verifier": "math", "answer": "1", "text": r"\boxed{9^{9^{9^9}}}"}
    good = {"verifier": "math", "answer": "1", "text": r"\boxed{1}"}
    found = lines(tmp_path, capsys, good, slow, good, options=["--timeout", "1.5"])
    assert [line["status"] for line in found] == ["ok", "timeout", "ok"]


def test_text_that_is_no_text_is_only_a_wrong_answer(tmp_path, capsys):
    texts = ["\x00", "\u202e<answer>4</answer>", "\ud800", "<answer>" * 1000]
    found = lines(
        tmp_path, capsys, *({"verifier": "exact", "answer": "4", "text": t} for t in texts)
    )
    assert [line["score"] for line in found] == [0.0, 1.0, 0.0, 0.0]


def test_a_missing_file_is_one_line(capsys):
    assert run(["rewards", "score", "/no/such/file.jsonl"]) == 2
    assert capsys.readouterr().err == "mmrl: /no/such/file.jsonl: No such file or directory\n"


def test_try_shows_one_verdict(capsys):
    arguments = ["rewards", "try", "number", "--answer", "42", "--text", "<answer>41</answer>"]
    assert run([*arguments, "--param", "abs_tol=1"]) == 0
    assert capsys.readouterr().out == 'score   1.0\nstatus  "ok"\n'
    assert run([*arguments, "--param", "abs_to=1"]) == 2
    assert "did you mean 'abs_tol'?" in capsys.readouterr().err


def test_try_judges_a_group_term_with_several_texts(capsys):
    arguments = ["rewards", "try", "majority_vote", "--answer", "1"]
    assert run([*arguments, "-t", r"\boxed{5}", "-t", r"\boxed{5}", "-t", r"\boxed{3}"]) == 0
    assert "score   [1.0, 1.0, 0.0]" in capsys.readouterr().out


def test_list_names_what_the_project_has(capsys):
    assert run(["rewards", "list", "--json"]) == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_name = {fact["name"]: fact for fact in facts}
    assert by_name["overlong"]["parameters"] == {"max_length": "20480", "cache_length": "4096"}
    assert by_name["overlong"]["paper"] == "DAPO, arXiv 2503.14476"
    assert by_name["dylr"]["kind"] == "group term"
    assert all(fact["summary"] for fact in facts)
    assert run(["rewards", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in by_name)
    assert run(["rewards", "list", "overlong"]) == 0
    assert "From here on the punishment is full." in capsys.readouterr().out


def test_every_parameter_is_documented(capsys):
    from mmrl.reward import describe_verifiers

    missing = [
        f"{verifier.name}.{name}"
        for verifier in describe_verifiers()
        for name in verifier.parameters
        if f"{name}:" not in (verifier.factory.__doc__ or "")
        and verifier.factory.__module__.startswith("rewards.")
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["choice", "math", "dylr", "think_answer"])
def test_bench_says_how_fast_a_verifier_is(capsys, name):
    assert run(["bench", "rewards", name, "--seconds", "0.05"]) == 0
    rate = capsys.readouterr().out.splitlines()[1].split()[1]
    # how fast is the benchmark's matter; a test machine may have anything else to do
    assert int(rate.replace(",", "")) > 0
