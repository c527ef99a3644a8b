from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmrl.judging.isolation import Job, Pool
from mmrl.reward import sample_of, verifier
from mmrl.types import Row, Sample


@verifier(isolated=True)
def misbehave():
    """Do what the completion says: sleep, spin in C, crash, eat memory, print, or give 1."""

    def judge(sample: Sample) -> float:
        deed = sample.answer or ""
        if deed == "sleep":
            time.sleep(600)
        if deed == "spin":
            str(9 ** (9**8))
        if deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if deed == "memory":
            return float(len(bytearray(2**40)))
        if deed == "grow":
            return float(sum(len(part) for part in [bytearray(2**26) for _ in range(10**6)]))
        if deed == "print":
            print("x" * 100_000)
        return float(deed == "good" or deed == "print")

    return judge


def sample(deed: str) -> Sample:
    row = Row(id="r", source="s", prompt=[], answer="good", verifier=())
    return sample_of(row, f"<answer>{deed}</answer>")


def jobs(*deeds: str) -> list[Job]:
    return [Job(name="misbehave", params={}, samples=[sample(deed)]) for deed in deeds]


@pytest.fixture(scope="module")
def pool():
    pool = Pool(timeout_s=1.5, memory_mb=512, processes=2)
    pool.add("misbehave")
    yield pool
    pool.close()


@pytest.fixture
def patient_pool():
    """Memory has to run out before time does, also on a busy machine."""
    pool = Pool(timeout_s=60, memory_mb=512, processes=1)
    pool.add("misbehave")
    yield pool
    pool.close()


def statuses(pool: Pool, *deeds: str) -> list[tuple[float | None, str]]:
    return [(found[0].score, found[0].status) for found in pool.judge(jobs(*deeds))]


def test_a_hung_or_broken_judgement_leaves_its_neighbours_unharmed(pool):
    statuses(pool, "good", "good")
    begin = time.monotonic()
    found = statuses(
        pool, "good", "sleep", "good", "spin", "crash", "bad", "print", "memory", "good"
    )
    assert found == [
        (1.0, "ok"),
        (None, "timeout"),
        (1.0, "ok"),
        (None, "timeout"),
        (None, "error"),
        (0.0, "ok"),
        (1.0, "ok"),
        (None, "error"),
        (1.0, "ok"),
    ]
    assert time.monotonic() - begin < 15


def test_memory_is_limited(patient_pool):
    verdict = patient_pool.judge(jobs("grow"))[0][0]
    assert verdict.status == "error"
    assert "MemoryError" in verdict.detail
    assert statuses(patient_pool, "good") == [(1.0, "ok")]


def test_a_row_that_is_not_json_is_an_error_of_that_row_only(pool):
    odd = Row(id="r", source="s", prompt=[], answer=b"x", verifier=())
    mixed = [Job(name="misbehave", params={}, samples=[sample_of(odd, "")]), *jobs("good")]
    found = pool.judge(mixed)
    assert [verdicts[0].status for verdicts in found] == ["error", "ok"]


def test_hostile_text_arrives_as_it_is(pool):
    assert statuses(pool, "\ud800 \x00 \u202e" + "(" * 1_000_000) == [(0.0, "ok")]


def test_threads_share_a_pool(pool):
    results: list[list] = []
    threads = [
        threading.Thread(target=lambda: results.append(statuses(pool, "good", "bad")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[(1.0, "ok"), (0.0, "ok")]] * 4


def test_a_forked_child_has_workers_of_its_own(pool):
    before = statuses(pool, "good")
    child = os.fork()
    if child == 0:
        good = statuses(pool, "good") == [(1.0, "ok")]
        pool.close()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert statuses(pool, "good") == before


def test_a_daemonic_process_such_as_a_data_loaders_may_use_a_pool(pool):
    def child(found) -> None:
        found.put(statuses(pool, "good", "bad"))

    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=child, args=(found,), daemon=True)
    process.start()
    assert found.get() == [(1.0, "ok"), (0.0, "ok")]
    process.join()


def test_training_processes_on_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    for world, workers in (("1", 8), ("4", 3), ("64", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", world)
        assert Pool()._processes == workers


PARENT = """
import os, sys, threading, time
sys.path.insert(0, {folder!r})
import test_isolation_parent as t
from mmrl.judging.isolation import Pool
pool = Pool(timeout_s=300, processes=2)
threading.Thread(target=lambda: pool.judge(t.jobs("sleep", "sleep")), daemon=True).start()
while len(pool._workers) < 2 or any(w.job is None for w in pool._workers):
    time.sleep(0.05)
print(*[w.child.process.pid for w in pool._workers], flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit(0)"], ids=["killed", "ended"])
def test_no_process_is_left_behind(tmp_path, end):
    (tmp_path / "test_isolation_parent.py").write_text(Path(__file__).read_text())
    script = PARENT.format(folder=str(tmp_path), end=end)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    if "sleep" in end:
        parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(map(_is_alive, pids)):
        time.sleep(0.05)
    assert not any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
