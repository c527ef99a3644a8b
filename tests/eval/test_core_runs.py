"""Runs of an evaluation: killed and resumed, extended, asked with other weights, short of answers."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from mmrl.errors import DataError, RunError
from mmrl.evals.log import SAMPLES, read_log
from mmrl.evals.run import run_evaluation
from mmrl.evals.settings import read_settings
from mmrl.project import find_project

FIXTURES = Path(__file__).parent / "fixtures"
VISTA, SEED = FIXTURES / "mathvista", FIXTURES / "seed_bench_r1"
FILES = ("results.json", "scores.jsonl", "items.jsonl", "samples.jsonl")


def _run(out, *arguments):
    return run_evaluation(read_settings([f"out={out}", *arguments], find_project()), find_project())


def _bytes(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def _lines(folder):
    return [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]


@pytest.fixture
def many(tmp_path):
    """Three hundred made-up questions with two stored responses each."""
    rng = random.Random(0)
    items, responses = tmp_path / "items.jsonl", tmp_path / "responses.jsonl"
    with items.open("w") as questions, responses.open("w") as answers:
        for pid in range(300):
            record = {
                "pid": str(pid),
                "question": f"How many of {pid}?",
                "query": f"How many of {pid}?",
                "image": f"images/{pid}.jpg",
                "choices": None,
                "answer": str(pid % 7),
                "question_type": "free_form",
                "answer_type": "integer",
                "precision": None,
                "metadata": {"source": f"s{pid % 5}"},
            }
            questions.write(json.dumps(record) + "\n")
            for _ in range(2):
                text = f"<think>x</think><answer>{rng.randrange(7)}</answer>"
                answers.write(json.dumps({"pid": str(pid), "response": text}) + "\n")
    return [f"data={items}", f"responses={responses}", "engine=replay", "tasks=mathvista"]


def _kill_until_done(out: Path, arguments: list[str], *, kills: int, lines: int) -> None:
    """Run in a child that is killed each time it has logged some more, then once to the end."""
    rng = random.Random(0)
    seen, killed = 0, 0
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _run(out, *arguments)
                code = 0
            finally:
                os._exit(code)
        goal = seen + rng.randint(1, lines) if killed < kills else None
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            seen = _count(out)
            if goal is not None and seen >= goal:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                killed += 1
                break
            time.sleep(0.0005)
        else:
            break
    assert killed == kills, f"it ended after {killed} kills"


def _count(out: Path) -> int:
    try:
        return (out / SAMPLES).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def test_a_replayed_run_that_is_killed_twenty_times_ends_as_one_that_never_was(tmp_path, many):
    _run(tmp_path / "whole", *many, "samples=2")
    _kill_until_done(tmp_path / "killed", [*many, "samples=2"], kills=20, lines=24)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")
    keys = [line["key"] for line in _lines(tmp_path / "killed")]
    assert len(keys) == len(set(keys)) == 600


HF = [
    "tasks=mathvista,seed_bench_r1",
    "model=tiny_omni",
    f"data.mathvista={VISTA}",
    f"data.seed_bench_r1={SEED}",
    "max_new_tokens=3",
    "temperature=1",
    "samples=2",
]


def _kill_hf(tmp_path, kills):
    _run(tmp_path / "whole", *HF)
    _kill_until_done(tmp_path / "killed", HF, kills=kills, lines=1)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")
    assert len({line["key"] for line in _lines(tmp_path / "killed")}) == 30


def test_a_run_of_a_model_that_is_killed_ends_as_one_that_never_was(tmp_path):
    _kill_hf(tmp_path, 2)


@pytest.mark.slow
def test_a_run_of_a_model_that_is_killed_twenty_times_ends_as_one_that_never_was(tmp_path):
    _kill_hf(tmp_path, 20)


def test_two_runs_give_the_same_bytes(tmp_path, many):
    for name in ("a", "b"):
        _run(tmp_path / name, *many, "samples=2")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_more_samples_are_asked_for_later(tmp_path, many):
    _run(tmp_path / "run", *many, "limit=50")
    first = _lines(tmp_path / "run")
    results = _run(tmp_path / "run", *many, "limit=50", "samples=2")
    lines = _lines(tmp_path / "run")
    assert lines[:50] == first
    assert [line["sample"] for line in lines[50:]] == [1] * 50
    whole = _run(tmp_path / "whole", *many, "limit=50", "samples=2")
    assert results == whole
    assert set(results["results"]["mathvista"]["modes"]["strict"]["pass@k"]) == {"1", "2"}


def test_items_that_were_added_are_all_that_is_asked(tmp_path, many):
    _run(tmp_path / "run", *many, "limit=10")
    _run(tmp_path / "run", *many, "limit=30")
    assert [line["id"] for line in _lines(tmp_path / "run")] == [str(n) for n in range(30)]


def test_other_weights_under_the_same_name_are_asked_again(tmp_path):
    arguments = [
        "tasks=mathvista",
        f"data={VISTA}",
        "model=tiny_omni",
        "limit=2",
        "max_new_tokens=2",
    ]
    for seed in (0, 1, 0):
        _run(tmp_path / "run", *arguments, f"seed={seed}")
    lines = _lines(tmp_path / "run")
    assert [line["id"] for line in lines] == ["1", "2", "1", "2"]
    assert len({line["key"] for line in lines}) == 4


@pytest.mark.parametrize(
    "change", ["media.image_max_pixels=3200", "max_new_tokens=3", "system=Be brief."]
)
def test_other_settings_are_other_questions(tmp_path, change):
    arguments = ["tasks=mathvista", f"data={VISTA}", "model=tiny_omni", "limit=1"]
    _run(tmp_path / "run", *arguments, "max_new_tokens=2")
    _run(tmp_path / "run", *arguments, *{"max_new_tokens": "max_new_tokens=2"}.values(), change)
    assert len(_lines(tmp_path / "run")) == 2


def test_pixels_frames_rate_and_coordinates_stand_in_every_record(tmp_path):
    _run(tmp_path, "tasks=seed_bench_r1", f"data={SEED}", "model=tiny_omni", "max_new_tokens=2")
    for line in read_log(tmp_path / SAMPLES):
        media = line.settings["media"]
        assert (media["video_fps"], media["video_max_frames"]) == (2.0, 16)
        assert media["image_max_pixels"] == 252 * 252
        assert line.settings["coordinates"] == "norm1000"
        assert line.settings["sampling"]["temperature"] == 1.0


def test_greedy_answers_are_the_same_in_a_batch(tmp_path):
    arguments = ["tasks=mathvista", f"data={VISTA}", "model=tiny_omni", "max_new_tokens=4"]
    for size in (1, 4):
        _run(tmp_path / str(size), *arguments, f"batch_size={size}")
    alone, together = (_lines(tmp_path / str(size)) for size in (1, 4))
    assert [line["response"] for line in alone] == [line["response"] for line in together]


def test_a_sample_that_nobody_answered_stays_in_the_denominator(tmp_path, many):
    short = tmp_path / "short.jsonl"
    lines = Path(many[1].partition("=")[2]).read_text().splitlines(keepends=True)
    short.write_text("".join(lines[:10]))
    arguments = [*many[:1], *many[2:], f"responses={short}", "limit=10"]
    with pytest.raises(RunError, match="5 of 10 samples have no verdict"):
        _run(tmp_path / "run", *arguments)
    found = json.loads((tmp_path / "run" / "results.json").read_text())["results"]["mathvista"]
    assert found["n"] == 10
    assert found["modes"]["strict"]["status"]["error"] == 5
    errors = (tmp_path / "run" / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in errors] == ["5", "6", "7", "8", "9"]
    results = _run(tmp_path / "lenient", *arguments, "max_errors=0.5")
    assert (
        results["results"]["mathvista"]["modes"]["strict"]["value"]
        == found["modes"]["strict"]["value"]
    )


def test_a_medium_that_is_missing_is_an_error_of_its_item_alone(tmp_path):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "testmini.json").write_bytes((VISTA / "testmini.json").read_bytes())
    for pid in range(1, 10):
        (data / "images" / f"{pid}.jpg").write_bytes((VISTA / "images" / f"{pid}.jpg").read_bytes())
    (data / "images" / "4.jpg").write_text("not a picture")
    arguments = ["tasks=mathvista", f"data={data}", "model=tiny_omni", "max_new_tokens=2"]
    results = _run(tmp_path / "run", *arguments, "max_errors=0.2")
    assert results["results"]["mathvista"]["modes"]["official"]["status"]["error"] == 2
    assert results["results"]["mathvista"]["n"] == 10
    (data / "images" / "4.jpg").write_bytes((VISTA / "images" / "4.jpg").read_bytes())
    (data / "images" / "10.jpg").write_bytes((VISTA / "images" / "10.jpg").read_bytes())
    results = _run(tmp_path / "run", *arguments)
    assert "error" not in results["results"]["mathvista"]["modes"]["official"]["status"]
    assert len(_lines(tmp_path / "run")) == 10


def test_an_id_that_comes_twice_is_an_error_before_anything_is_asked(tmp_path):
    record = json.loads((VISTA / "testmini.json").read_text())["1"]
    (tmp_path / "items.jsonl").write_text(f"{json.dumps(record)}\n" * 2)
    with pytest.raises(DataError, match=r"record 2: 'mathvista' has the id '1' twice"):
        _run(
            tmp_path / "run",
            "tasks=mathvista",
            f"data={tmp_path / 'items.jsonl'}",
            "model=tiny_omni",
        )
    assert not (tmp_path / "run").exists()
