"""`mmrl eval` at the command line: score, rescore, tasks, runs, mistakes of one line, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmrl.cli import run

FIXTURES = Path(__file__).parent / "fixtures"
VISTA, SEED = FIXTURES / "mathvista", FIXTURES / "seed_bench_r1"


@pytest.fixture
def mmrl(capsys):
    """Run a command; return its code, the lines of its output, and what it complained of."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


def _write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _records():
    return json.loads((VISTA / "testmini.json").read_text())


def _choice(pid="1", answer="8/11", **fields):
    choices = ["3/11", "8/11", "6/11", "3/5"]
    kind = {"question_type": "multi_choice", "answer_type": "text", "choices": choices}
    return {"pid": pid, **kind, "precision": None, "answer": answer, **fields}


def test_scored_lines_are_the_lines_with_a_verdict_then_a_summary(mmrl, tmp_path):
    lines = [
        _choice("1", response="B."),
        _choice("2", extraction="8/12"),
        _choice("3", response=""),
    ]
    file = _write(tmp_path / "r.jsonl", lines)
    code, out, err = mmrl("eval", "score", "task=mathvista", file, "mode=official")
    assert code == 0
    *scored, summary = map(json.loads, out)
    for line, found in zip(lines, scored, strict=True):
        assert {key: found[key] for key in line} == line
    kept = [(f["extracted"], f["normalized"], f["correct"], f["how"], f["status"]) for f in scored]
    assert kept == [
        ("B", "8/11", True, "letter", "ok"),
        ("8/12", "8/11", True, "fallback", "ok"),
        (None, "3/5", False, "fallback", "no_answer"),
    ]
    assert summary["summary"]["n"] == 3
    assert list(summary["summary"]["modes"]) == ["official"]
    assert "published" in err


def test_both_modes_are_printed_and_strict_stands_first(mmrl, tmp_path):
    file = _write(tmp_path / "r.jsonl", [_choice(answer="3/5", extraction="")])
    _, out, err = mmrl("eval", "score", "task=mathvista", file)
    found, summary = map(json.loads, out)
    assert (found["correct"], found["status"]) == (False, "no_answer")
    assert found["modes"]["official"]["correct"] is True
    values = {mode: part["value"] for mode, part in summary["summary"]["modes"].items()}
    assert values == {"official": 1.0, "strict": 0.0}
    assert "official" in err
    assert "strict" in err


def test_a_prediction_file_of_the_authors_is_scored_against_its_own_verdicts(mmrl, tmp_path):
    stored = {
        pid: {
            **record,
            "caption": "",
            "response": f"It is {record['answer']}.",
            "error": "None",
            "extraction": record["answer"] if pid != "4" else "2014",
            "prediction": record["answer"] if pid != "4" else "2014",
            "true_false": pid != "4",
        }
        for pid, record in _records().items()
    }
    file = tmp_path / "output_bard.json"
    file.write_text(json.dumps(stored))
    code, out, _ = mmrl("eval", "score", "task=mathvista", file)
    assert code == 0
    *scored, summary = map(json.loads, out)
    assert [line["pid"] for line in scored] == list(stored)
    official = summary["summary"]["modes"]["official"]
    assert official["stored_verdicts"] == {"lines": 10, "same": 10}
    assert official["value"] == 0.9
    assert official["groups"]["skills"]["algebraic reasoning"] == {
        "n": 1,
        "value": 1.0,
        "low": 1.0,
        "high": 1.0,
    }


def test_several_lines_of_an_item_are_its_samples(mmrl, tmp_path):
    lines = [_choice(response=text) for text in ("B", "B", "A", "")]
    _, out, _ = mmrl("eval", "score", "task=mathvista", _write(tmp_path / "r.jsonl", lines))
    strict = json.loads(out[-1])["summary"]["modes"]["strict"]
    assert strict["value"] == 0.5
    assert strict["pass@k"] == {"1": 0.5, "2": pytest.approx(5 / 6, abs=1e-6), "4": 1.0}
    assert strict["maj@k"] == {"4": 1.0}


def test_a_line_that_cannot_be_scored_counts_and_fails_the_command(mmrl, tmp_path):
    lines = [_choice(response="B"), _choice("2"), _choice("3", response="B", answer="none of them")]
    file = _write(tmp_path / "r.jsonl", lines)
    code, out, err = mmrl("eval", "score", "task=mathvista", file)
    assert code == 2
    assert "2 of 3 samples have no verdict" in err
    assert [json.loads(line)["status"] for line in out[:-1]] == ["ok", "error", "error"]
    summary = json.loads(out[-1])["summary"]
    assert summary["n"] == 3
    assert summary["modes"]["strict"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert mmrl("eval", "score", "task=mathvista", file, "max_errors=1")[0] == 0


def test_responses_of_the_second_benchmark_are_scored_with_ids_of_both_kinds(mmrl, tmp_path):
    lines = []
    for level in ("L1", "L3"):
        file = SEED / "annotations" / f"validation_{level}.jsonl"
        for text in file.read_text().splitlines():
            record = json.loads(text)
            lines.append({**record, "response": f"<answer>{record['golden_choice_idx']}.</answer>"})
    assert {type(line["sample_id"]) for line in lines} == {int, str}
    file = _write(tmp_path / "r.jsonl", lines)
    _, out, _ = mmrl("eval", "score", "task=seed_bench_r1", file)
    modes = json.loads(out[-1])["summary"]["modes"]
    assert {mode: found["value"] for mode, found in modes.items()} == {
        "official": 1.0,
        "grpo_care": 0.0,
        "strict": 1.0,
        "lenient": 1.0,
    }
    assert modes["official"]["groups"]["level"]["L3"]["n"] == 2
    assert set(modes["official"]["groups"]["domain"]) == {"Work", "Hobbies"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "task=mathvista"), "write: mmrl eval score task=NAME FILE"),
        (
            ("score", "task=mathvist", "x.jsonl"),
            "no benchmark 'mathvist', did you mean 'mathvista'",
        ),
        (("score", "task=mathvista", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("score", "task=mathvista", "mod=strict", "x"), "no key 'mod', did you mean 'mode'?"),
        (("tasks=mathvista",), "out: give the folder"),
        (("out=x",), "tasks: name at least one benchmark"),
        (("tasks=mathvista", "out=x"), "engine=hf: give model=NAME"),
        (("tasks=mathvista", "out=x", "engine=hg"), "engine: 'hg'"),
        (("tasks=mathvista", "out=x", "engine=replay"), "responses=FILE.jsonl"),
        (
            ("tasks=mathvista", "out=x", "modle=x"),
            "modle: there is no such key, did you mean 'model'",
        ),
        (("tasks=mathvista", "out=x", "media.video_fsp=1", "model=a"), "did you mean 'video_fps'"),
        (("tasks=mathvista", "out=x", "data.mathverse=y"), "'mathverse' is none of the tasks"),
        (("tasks=mathvista", "out=x", "model=tiny_omi", "data=D"), "did you mean 'tiny_omni'"),
        (("tasks=mathvista", "out=x", "model=tiny_omni", "data=./none"), "./none: no such file"),
        (("tasks=mathvista", "out=x", "model=tiny_omni", "data=D", "split=val"), "no split 'val'"),
        (
            ("tasks=mathvista", "out=x", "model=tiny_omni", "engine=vllm", "data=D"),
            "loads a checkpoint",
        ),
        (("--tasks", "mathvista", "--limit"), "--limit: a value should follow"),
    ],
)
def test_a_mistake_is_one_line(mmrl, arguments, message, tmp_path, monkeypatch):
    arguments = [argument.replace("data=D", f"data={VISTA}") for argument in arguments]
    monkeypatch.chdir(tmp_path)
    code, out, err = mmrl("eval", *arguments)
    assert (code, out) == (2, [])
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_mode_that_there_is_not_is_a_line(mmrl, tmp_path):
    file = _write(tmp_path / "r.jsonl", [_choice(response="B")])
    code, _, err = mmrl("eval", "score", "task=mathvista", file, "mode=exact")
    assert code == 2
    assert "has the modes official, strict" in err


def test_tasks_are_listed_with_their_published_numbers(mmrl):
    _, out, _ = mmrl("eval", "tasks")
    assert any(line.startswith("mathvista ") for line in out)
    _, out, _ = mmrl("eval", "tasks", "seed_bench_r1", "--json")
    facts = json.loads(out[0])
    assert facts["modes"] == ["official", "grpo_care", "strict", "lenient"]
    grpo = [p["value"] for p in facts["published"] if p["model"].endswith("GRPO")]
    assert grpo[:3] == [46.01, 50.16, 44.89]
    assert {"splits", "hub", "version", "groups", "notes"} <= set(facts)


def _replay(tmp_path, **fields):
    lines = [
        {"pid": pid, "response": f"<answer>{record['answer']}</answer>", **fields}
        for pid, record in _records().items()
    ]
    return _write(tmp_path / "responses.jsonl", lines)


def test_a_replayed_run_writes_results_and_prints_tables(mmrl, tmp_path):
    file, out = _replay(tmp_path), tmp_path / "run"
    arguments = ("engine=replay", f"responses={file}", f"data={VISTA}", f"out={out}")
    code, _, err = mmrl("eval", "tasks=mathvista", *arguments)
    assert code == 0
    assert "has 10 items; the released split testmini has 1000" in err
    results = json.loads((out / "results.json").read_text())
    assert results["results"]["mathvista"]["modes"]["strict"]["value"] == 1.0
    assert results["tasks"]["mathvista"]["items"] == 10


def test_the_words_of_lm_eval_mean_the_same(mmrl, tmp_path):
    file = _replay(tmp_path)
    ours = ("tasks=mathvista", "engine=replay", "limit=5", "temperature=0.7", "seed=3", "out=a")
    theirs = "--model replay --tasks mathvista --limit 5 --gen_kwargs temperature=0.7 --seed 3"
    theirs = (*theirs.split(), "--log_samples", "--output_path", str(tmp_path / "b"))
    ours = (*ours[:-1], f"out={tmp_path / 'a'}")
    for arguments in (ours, theirs):
        code, _, err = mmrl("eval", *arguments, f"responses={file}", f"data={VISTA}")
        assert code == 0, err
    for name in ("results.json", "samples.jsonl", "scores.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_run_is_scored_again_and_what_changed_is_listed(mmrl, tmp_path):
    out = tmp_path / "run"
    arguments = ("engine=replay", f"responses={_replay(tmp_path)}", f"data={VISTA}", f"out={out}")
    mmrl("eval", "tasks=mathvista", *arguments)
    before = (out / "scores.jsonl").read_bytes()
    assert mmrl("eval", "rescore", out)[1] == ["no verdict changed"]
    assert (out / "scores.jsonl").read_bytes() == before
    lines = [json.loads(line) for line in before.splitlines()]
    lines[2]["scorer"] = "0"
    lines[2]["modes"]["strict"] |= {"value": 0.0, "correct": False, "status": "no_answer"}
    _write(out / "scores.jsonl", lines)
    code, said, _ = mmrl("eval", "rescore", out)
    assert code == 0
    assert said == [
        "mathvista, strict, version 0 -> 1: 1 verdicts changed",
        "  3/0: 0.0 no_answer -> 1.0 ok",
    ]
    assert (out / "scores.jsonl").read_bytes() == before


def test_what_is_no_run_cannot_be_scored_again(mmrl, tmp_path):
    code, _, err = mmrl("eval", "rescore", tmp_path)
    assert code == 2
    assert "holds no finished evaluation" in err


CHILD = """
import sys
from mmrl.cli import run
code = run(sys.argv[1:])
heavy = [name for name in ("torch", "transformers", "datasets", "sympy") if name in sys.modules]
print(code, *heavy, file=sys.stderr)
"""


def _child(*arguments):
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.splitlines()[-1]


def test_ten_thousand_responses_are_scored_in_less_than_twenty_seconds_without_torch(tmp_path):
    records = list(_records().values())
    thought = "<think>" + "Let me look at the picture again. " * 30 + "</think>"
    lines = (
        {**records[n % 10], "pid": str(n), "response": f"{thought}\nThe answer is {n % 9}."}
        for n in range(10_000)
    )
    file = _write(tmp_path / "r.jsonl", lines)
    began = time.monotonic()
    out, last = _child("eval", "score", "task=mathvista", file)
    assert time.monotonic() - began < 20
    assert last == "0"
    assert len(out.splitlines()) == 10_001


def test_a_replayed_run_and_the_list_of_tasks_import_no_torch(tmp_path):
    file = _replay(tmp_path)
    arguments = ("engine=replay", f"responses={file}", f"data={VISTA}", f"out={tmp_path / 'run'}")
    assert _child("eval", "tasks=mathvista", *arguments)[1] == "0"
    assert _child("eval", "tasks")[1] == "0"


class _Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies = []
        self.refuse = set()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        text = body["messages"][-1]["content"][-1]["text"]
        if any(word in text for word in self.server.refuse):
            self.send_response(400)
            self.end_headers()
            return
        choice = {"message": {"content": "<answer>0</answer>"}, "finish_reason": "stop"}
        if "share is red" in text:
            choice = {"message": {"content": "It could be"}, "finish_reason": "length"}
        reply = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _ask(mmrl, server, out, *more):
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    where = (f"base_url={url}", f"data={VISTA}", f"out={out}")
    return mmrl("eval", "tasks=mathvista", "engine=openai", "model=served", *where, *more)


def test_a_server_is_asked_with_media_as_data_urls_and_only_once(mmrl, server, tmp_path):
    code, _, err = _ask(mmrl, server, tmp_path / "run", "temperature=0.5", "top_k=20", "samples=2")
    assert code == 0, err
    assert len(server.bodies) == 20
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["top_k"]) == ("served", 0.5, 20)
    assert len({body["seed"] for body in server.bodies}) == 20
    image = body["messages"][0]["content"][0]
    assert image["type"] == "image_url"
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")
    assert _ask(mmrl, server, tmp_path / "run", "temperature=0.5", "top_k=20", "samples=2")[0] == 0
    assert len(server.bodies) == 20
    strict = json.loads((tmp_path / "run" / "results.json").read_text())["results"]["mathvista"]
    assert strict["modes"]["strict"]["status"]["truncated"] == 2


def test_what_a_server_refuses_is_asked_again_next_time(mmrl, server, tmp_path):
    server.refuse = {"How many are left"}
    code, _, err = _ask(mmrl, server, tmp_path / "run")
    assert code == 2
    assert "1 of 10 samples have no verdict" in err
    assert "the server said 400" in err
    server.refuse = set()
    assert _ask(mmrl, server, tmp_path / "run")[0] == 0
    assert len(server.bodies) == 11
    assert not (tmp_path / "run" / "errors.jsonl").exists()


def test_one_task_finds_its_data_in_a_folder_of_several(mmrl, tmp_path):
    arguments = ("engine=replay", f"responses={_replay(tmp_path)}", f"out={tmp_path / 'run'}")
    assert mmrl("eval", "tasks=mathvista", *arguments, f"data={FIXTURES}")[0] == 0


def test_an_error_says_which_item_had_it(mmrl, tmp_path):
    file = _write(tmp_path / "r.jsonl", [_choice("7", answer="9/9", response="B")])
    code, _, err = mmrl("eval", "score", "task=mathvista", file, "mode=strict")
    assert code == 2
    assert "the first: item 7: ValueError: the gold answer '9/9'" in err
