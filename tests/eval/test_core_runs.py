"""Runs of an evaluation: killed and resumed, extended, asked with other weights, short of answers."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mmrl.errors import DataError, RunError
from mmrl.evals.benchmark import find_benchmark
from mmrl.evals.engines import make_engine
from mmrl.evals.log import SAMPLES, read_log
from mmrl.evals.questions import load_task
from mmrl.evals.run import evaluate_tasks, run_evaluation
from mmrl.evals.settings import read_settings
from mmrl.project import find_project
from mmrl.screen import Screen

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


def _in_child(work) -> int:
    """Do the work in a child process and return how it ended, a signal as a negative number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_and_die(out: Path, arguments: list[str], answers: int) -> None:
    """Run with an engine that kills its process, as `kill -9` does, after so many answers."""
    settings, project = read_settings([f"out={out}", *arguments], find_project()), find_project()
    benchmarks = [find_benchmark(name, project) for name in settings.tasks]
    tasks = [load_task(found, settings.tasks[found.name], settings) for found in benchmarks]
    engine = make_engine(settings, benchmarks, project)
    left = itertools.count(answers, -1)

    def answer(requests):
        for found in engine.answer(requests):
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield found

    dying = dataclasses.replace(engine, answer=answer)
    evaluate_tasks(tasks, dying, settings, screen=Screen())


def _kill_and_resume(tmp_path: Path, arguments: list[str], *, kills: int, most: int) -> None:
    rng = random.Random(0)
    _run(tmp_path / "whole", *arguments)
    for _ in range(kills):
        answers = rng.randint(0, most)
        code = _in_child(partial(_run_and_die, tmp_path / "killed", arguments, answers))
        assert code == -signal.SIGKILL
    _run(tmp_path / "killed", *arguments)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")
    keys = [line["key"] for line in _lines(tmp_path / "killed")]
    assert len(keys) == len(set(keys))


def test_a_replayed_run_that_is_killed_twenty_times_ends_as_one_that_never_was(tmp_path, many):
    _kill_and_resume(tmp_path, [*many, "samples=2"], kills=20, most=27)
    assert len(_lines(tmp_path / "killed")) == 600


HF = [
    "tasks=mathvista,seed_bench_r1",
    "model=tiny_omni",
    f"data.mathvista={VISTA}",
    f"data.seed_bench_r1={SEED}",
    "max_new_tokens=3",
    "temperature=1",
    "samples=2",
]


def test_a_run_of_a_model_that_is_killed_twenty_times_ends_as_one_that_never_was(tmp_path):
    _kill_and_resume(tmp_path, HF, kills=20, most=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_command_that_is_killed_anywhere_ends_as_one_that_never_was(tmp_path, many, seed):
    arguments = [*many, "samples=2"]
    _run(tmp_path / "whole", *arguments)
    rng = random.Random(seed)
    command = [sys.executable, "-m", "mmrl", "eval", *arguments, f"out={tmp_path / 'killed'}"]
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.5, 2.0))
        process.kill()
        process.wait()
    _run(tmp_path / "killed", *arguments)
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")


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
