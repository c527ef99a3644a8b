"""A chain whose server fails and whose process is killed: every row is accounted for, nothing is
asked twice, and the file is the same in the end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from random import Random

import pytest

from mmrl.data.rows import load_rows

TROUBLES = ("busy", "broken", "drops", "babbles", "stalls")
ROWS = 40


def say(text: str, asked: dict) -> str:
    """Answer rightly, but some questions never."""
    n = int(re.findall(r"(\d+) \+ 1", text)[-1])
    if text.startswith("caption"):
        return f"a sum: {n} + 1"
    wrong = n >> asked["seed"] & 1
    words = "and " * (1 + (asked["seed"] * 7 + n) % 5)
    return f"<think>{words}</think> <answer>{n + 1 + wrong}</answer>"


def fails_a_fifth():
    rng = Random(0)
    fails = [rng.random() < 0.2 for _ in range(100_000)]
    kinds = [rng.choice(TROUBLES) for _ in range(100_000)]
    return lambda number: kinds[number] if fails[number] else ""


@pytest.fixture
def project(tmp_path):
    """A folder with a chain and rows."""
    folder = tmp_path / "project"
    (folder / "configs" / "stage").mkdir(parents=True)
    (folder / "configs" / "cold_start").mkdir()
    (folder / "configs" / "cold_start" / "sums.yaml").write_text(
        "\n".join(
            [
                "teachers: {t: {base_url: http://127.0.0.1:1/v1, model: m, seed: 0,",
                "  first_wait_s: 0.01, timeout_s: 0.3, price: {input: 1, output: 2}}}",
                "concurrency: 8",
                "keep: [caption]",
                "steps:",
                "  caption: {teacher: t, prompt: 'caption {question}'}",
                "  reason: {teacher: t, prompt: '{caption}', samples: 3, temperature: 1}",
                "  verify: {of: reason, keep: shortest}",
                "  response: {kind: compose, text: '{reason}'}",
                "  split_by_difficulty: {pass_rate_below: 0.6}",
            ]
        )
    )
    raws = [
        {
            "id": f"r{n}",
            "source": "sums",
            "prompt": [{"role": "user", "content": f"What is {n} + 1?"}],
            "answer": str(n + 1),
            "verifier": "exact",
        }
        for n in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return folder


def start(project, server, out, cache) -> subprocess.Popen:
    arguments = [
        "chain=sums",
        "in=rows.jsonl",
        f"out={out}",
        f"cache={cache}",
        f"teachers.t.base_url={server.url}",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "mmrl", "data", "build", "cold_start", *arguments],
        cwd=project,
        env={**os.environ, "MMRL_PROJECT": str(project), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


def test_a_killed_chain_gives_the_same_file_and_asks_nothing_twice(project, serve):
    calm = serve(say)
    finish(start(project, calm, "calm.jsonl", "calm-cache"))
    assert calm.count == ROWS * 4

    server = serve(say, fails_a_fifth())
    server.delay_s = 0.01
    for share in (0.2, 0.6):
        process = start(project, server, "cold.jsonl", "cache")
        while server.answered.total() < share * ROWS * 4:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (project / "cold.jsonl").exists()
    told = finish(start(project, server, "cold.jsonl", "cache"))

    for name in ("", ".rl", ".rejected"):
        assert (project / f"cold{name}.jsonl").read_bytes() == (
            project / f"calm{name}.jsonl"
        ).read_bytes()
    repeated = {content: n for content, n in server.answered.items() if n > 1}
    assert len(server.answered) == ROWS * 4
    # what was under way when the process was killed may be asked once more, and nothing else
    assert sum(repeated.values()) - len(repeated) <= 2 * 8
    assert server.count > server.answered.total()
    assert "left out, with the reason in cold.rejected.jsonl: verify" in told


def test_every_row_is_done_or_listed_with_its_reason(project, serve):
    server = serve(say, fails_a_fifth())
    told = finish(start(project, server, "cold.jsonl", "cache"))
    done = load_rows(project / "cold.jsonl")
    hard = load_rows(project / "cold.rl.jsonl")
    lines = (project / "cold.rejected.jsonl").read_text().splitlines()
    rejected = [json.loads(line) for line in lines]
    ids = [row.id for row in done + hard] + [line["id"] for line in rejected]
    assert sorted(ids) == sorted(f"r{n}" for n in range(ROWS))
    assert all(line["reason"] and line["step"] == "verify" for line in rejected)
    assert {f"r{n}" for n in range(7, ROWS, 8)} == {line["id"] for line in rejected}
    assert {row.id for row in hard} == {f"r{n}" for n in range(ROWS) if n % 8 in (3, 5, 6)}
    assert all(row.response and "<answer>" in row.response for row in done)
    assert done[0].extra["cold_start"]["caption"] == "a sum: 0 + 1"
    assert all(1 / 3 <= row.extra["cold_start"]["pass_rate"] < 0.6 for row in hard)

    manifest = json.loads((project / "cold.manifest.json").read_text())
    count = manifest["teachers"]["t"]
    assert (count["replies"], count["asked"], count["failed"]) == (ROWS * 4, ROWS * 4, 0)
    cost = (count["prompt_tokens"] + 2 * count["completion_tokens"]) / 1e6
    assert count["cost"] == pytest.approx(cost)
    assert manifest["out"]["cold.jsonl"]["rows"] == len(done)
    assert f"{ROWS * 4} replies, 0 of them from the cache" in told
    before = server.count
    again = finish(start(project, server, "cold.jsonl", "cache"))
    assert f"{ROWS * 4} of them from the cache" in again
    assert server.count == before


def test_rows_that_got_no_answer_are_asked_for_by_the_same_command(project, serve):
    broken = {"now": True}
    server = serve(say, lambda number: "refuses" if broken["now"] and number % 10 == 0 else "")
    process = start(project, server, "cold.jsonl", "cache")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "rows got no answer; give the same command again" in error
    missing = json.loads((project / "cold.manifest.json").read_text())["unanswered"]
    assert 0 < missing < ROWS
    broken["now"] = False
    before = server.count
    finish(start(project, server, "cold.jsonl", "cache"))
    assert missing <= server.count - before <= missing * 4
    assert json.loads((project / "cold.manifest.json").read_text())["unanswered"] == 0


def test_another_file_is_not_written_over(project, serve):
    (project / "cold.jsonl").write_text("precious")
    process = start(project, serve(say), "cold.jsonl", "cache")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("mmrl: out: cold.jsonl is there already")
    assert (project / "cold.jsonl").read_text() == "precious"
