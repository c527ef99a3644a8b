"""Worker processes make the very prompts that the training process would, and hide no error."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import ConfigError, DataError
from mmrl.evals.benchmark import Decoding, Item
from mmrl.evals.engine import Request
from mmrl.evals.engines.hf import policy_engine
from mmrl.families import FAMILIES
from mmrl.media.pool import Pool
from mmrl.media.writers import write_png, write_wav
from mmrl.model import load_policy
from mmrl.prompt import Prompts
from mmrl.recipe import Maker, Recipe

MIXES = {
    "image": ("image:a.png", "what?"),
    "images": ("image:a.png", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves?"),
    "audio": ("audio:a.wav", "who?"),
    "audios": ("audio:a.wav", "audio:b.wav", "who?"),
    "both": ("image:a.png", "video:b.mp4", "all?"),
    "all": ("image:a.png", "video:b.mp4", "audio:b.wav", "all?"),
}
MEDIA = MediaConfig(video_fps=4, workers=1, cache_mb=0)


ODD_FILES = """
import os, pathlib, signal, time

class Deadly(type(pathlib.Path())):
    def exists(self):
        os.kill(os.getpid(), signal.SIGSEGV)

class Endless(type(pathlib.Path())):
    def exists(self):
        (self.parent / "reached").touch()
        time.sleep(1000)
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Files that end the process which looks at them, or keep it for ever; workers know them too."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd_files.py").write_text(ODD_FILES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("odd_files")


@pytest.fixture(scope="module")
def omni():
    return load_policy(ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni"), seed=0)


@pytest.fixture(scope="module")
def prompts(omni, odd):
    """Prompts that one worker makes; it is started once for most of this file."""
    prompts = Prompts(policy=omni, media=MEDIA)
    yield prompts
    prompts.close()


@pytest.fixture(scope="module")
def pool(prompts):
    """That worker."""
    assert prompts._ahead
    return prompts._ahead.pool


def _recipe(name: str, media: MediaConfig = MEDIA, **words: str) -> Recipe:
    policy = load_policy(ModelConfig.model_validate({"family": name, "tiny": name}), seed=0)
    return Recipe(family=policy.family, processor=policy.processor, media=media, **words)


def _same(one, other) -> None:
    assert list(one.tensors) == list(other.tensors)
    for key, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[key].dtype, key
        assert tensor.is_contiguous(), key
        assert torch.equal(tensor, other.tensors[key]), key
    for name in ("size", "media_key", "decoded", "from_disk", "warnings"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("name", FAMILIES)
def test_a_worker_makes_the_same_tensors_bit_for_bit(name, ask, pool):
    recipe = _recipe(name, system="Be brief.", suffix=" Think.", opening="<think>\n")
    takes = recipe.family.media
    rows = [ask(*parts, row_id=row_id) for row_id, parts in MIXES.items()]
    rows = [row for row in rows if {medium.kind for medium in row.media} <= takes]
    assert len(rows) >= 2
    sent = [pool.submit(recipe, row) for row in rows]
    maker = Maker(recipe=recipe)
    for row, future in zip(rows, sent, strict=True):
        _same(maker(row), future.result())


def test_a_worker_finds_and_leaves_rows_on_disk_and_says_what_was_damaged(ask, pool, tmp_path):
    recipe = _recipe("qwen2_5_vl", MEDIA.model_copy(update={"cache_dir": tmp_path}))
    row = ask(*MIXES["image"])
    first, second = (pool.submit(recipe, row).result() for _ in range(2))
    assert (first.from_disk, second.from_disk, second.decoded) == (False, True, 0)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    third = pool.submit(recipe, row).result()
    assert [line.split(":")[0] for line in third.warnings] == ["mmrl"]
    assert torch.equal(first.tensors["pixel_values"], third.tensors["pixel_values"])


def test_prompts_are_the_same_and_counted_alike(omni, prompts, ask):
    rows = [ask(*parts, row_id=row_id) for row_id, parts in MIXES.items()] + [ask("how many?")]
    plain = Prompts(policy=omni, media=MediaConfig(video_fps=4, cache_mb=0))
    before = prompts.decoded, prompts.processed, prompts.from_ahead
    metrics = []
    for each in (plain, prompts):
        each.begin_step()
        each.look_ahead(rows)
    for row in rows:
        one, other = plain(row), prompts(row)
        assert (one.ids, one.row, one.media_key) == (other.ids, other.row, other.media_key)
        assert torch.equal(one.positions_RT, other.positions_RT)
        assert list(one.media) == list(other.media)
        assert all(torch.equal(tensor, other.media[key]) for key, tensor in one.media.items())
    metrics = [each.end_step() for each in (plain, prompts)]
    assert metrics[0] == metrics[1]
    counts = prompts.decoded - before[0], prompts.processed - before[1]
    assert counts == (plain.decoded, plain.processed) == (12, 8)


def test_what_was_sent_ahead_is_ready_when_it_is_asked_for(prompts, ask):
    row = ask(*MIXES["image"], row_id="soon")
    before = prompts.from_ahead
    prompts.look_ahead([row])
    deadline = time.monotonic() + 60
    assert prompts._ahead
    while not all(sent.made.done() for sent in prompts._ahead._sent.values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert prompts(row).ids
    assert prompts.from_ahead == before + 1


def test_a_text_needs_no_worker(omni, ask):
    prompts = Prompts(policy=omni, media=MEDIA)
    prompts.look_ahead([ask("how many?")])
    assert prompts(ask("how many?")).ids
    assert prompts._ahead
    assert prompts._ahead.pool.processes() == []


BAD = {
    "corrupt": ("image:bad.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99)),
    "gone": ("image:gone.png", lambda path: None),
    "no video": ("video:bad.mp4", lambda path: path.write_text("<html>")),
    "too long": ("audio:long.wav", lambda path: write_wav(path, np.zeros(16_000 * 5))),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_medium_is_the_same_error_when_its_row_is_asked_for(
    name, omni, prompts, ask, tmp_path
):
    part, write = BAD[name]
    file = tmp_path / part.partition(":")[2]
    write_png(tmp_path / "gone.png", np.zeros((56, 56, 3), dtype=np.uint8))
    file.touch()
    row = ask(part, "?", row_id="bad", folder=tmp_path)
    if name == "gone":
        file.unlink()
    write(file)
    prompts.look_ahead([row])
    said = []
    for each in (prompts, Prompts(policy=omni, media=MediaConfig(video_fps=4, cache_mb=0))):
        with pytest.raises(DataError) as caught:
            each(row)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "row bad" in said[0]


def test_a_wrong_guess_raises_nothing_and_is_given_up_after_a_step(prompts, ask, tmp_path):
    (tmp_path / "bad.png").write_text("<html>")
    bad = ask("image:bad.png", row_id="bad", folder=tmp_path)
    good = ask(*MIXES["image"], row_id="good")
    kept = []
    for rows in ([bad, good], [good], [good], [], []):
        prompts.begin_step()
        prompts.look_ahead(rows)
        prompts.end_step()
        kept.append([row for _, row in prompts._ahead._sent])
    assert kept == [["bad", "good"], ["good"], ["good"], [], []]


def test_the_row_and_the_medium_that_end_a_worker_are_named(prompts, ask, odd):
    row = _with(ask(*MIXES["images"], row_id="fatal"), 1, odd.Deadly)
    after = ask(*MIXES["image"], row_id="after")
    prompts(ask(*MIXES["image"], row_id="before"))
    [pid] = prompts._ahead.pool.processes()
    prompts.look_ahead([row, after])
    with pytest.raises(DataError) as caught:
        prompts(row)
    assert str(caught.value) == (
        f"row fatal: image {row.media[1].source}: the worker process that looked at it ended "
        "(SIGSEGV); replace the file or remove the row"
    )
    assert prompts(after).ids
    assert pid not in prompts._ahead.pool.processes()
    assert not _lives(pid)


def test_a_worker_that_ended_while_it_was_idle_is_replaced(prompts, ask):
    prompts(ask(*MIXES["image"], row_id="before"))
    [pid] = prompts._ahead.pool.processes()
    os.kill(pid, signal.SIGKILL)
    assert prompts(ask(*MIXES["image"], row_id="behind")).ids
    [other] = prompts._ahead.pool.processes()
    assert other != pid


def test_a_closed_pool_has_no_process_left_though_one_was_at_work(prompts, ask, odd, tmp_path):
    (tmp_path / "a.png").touch()
    row = _with(ask("image:a.png", row_id="endless", folder=tmp_path), 0, odd.Endless)
    pool = Pool(1)
    sent = pool.submit(prompts._recipe(), row)
    _wait((tmp_path / "reached").exists)
    [pid] = pool.processes()
    pool.close()
    assert not _lives(pid)
    with pytest.raises(DataError, match=r"row endless: image .* ended \(SIGKILL"):
        sent.result(timeout=60)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(prompts._recipe(), row)


def test_looking_ahead_without_workers_is_a_mistake():
    with pytest.raises(ValueError, match="ahead does nothing without workers"):
        MediaConfig(ahead=2)
    assert MediaConfig(ahead=2, workers=1).ahead == 2


def test_a_processor_that_cannot_travel_is_one_line(omni, ask):
    recipe = _recipe("qwen2_5_vl")
    recipe.processor.odd = lambda: None
    with pytest.raises(ConfigError, match=r"media.workers: the processor .* set media.workers=0"):
        Pool(1).submit(recipe, ask(*MIXES["image"]))


def test_an_evaluation_with_workers_answers_the_same_and_names_what_is_fatal(omni, ask, odd):
    rows = [ask(*parts, row_id=row_id) for row_id, parts in list(MIXES.items())[:3]]
    fatal = _with(ask(*MIXES["image"], row_id="fatal"), 0, odd.Deadly)
    answers = []
    for media, asked in ((MEDIA.model_copy(update={"workers": 0}), rows), (MEDIA, [*rows, fatal])):
        engine = policy_engine(omni, weights="w", settings={}, batch_size=4)
        requests = [
            Request(
                key=row.id,
                task="toy",
                item=Item(id=row.id, answer="3"),
                sample=0,
                row=row,
                decoding=Decoding(max_new_tokens=3),
                media=media,
                seed=0,
            )
            for row in asked
        ]
        answers.append({request.key: answer for request, answer in engine.answer(requests)})
        engine.close()
    error = answers[1].pop("fatal").error
    assert answers[0] == answers[1]
    assert error is not None
    assert "row fatal: image" in error


ORPHANS = """
import pathlib, sys, time
import odd_files
from mmrl.config.schema import MediaConfig
from mmrl.families import FAMILIES
from mmrl.media.pool import Pool
from mmrl.recipe import Recipe
from mmrl.types import Medium, Row
picture = {"type": "image", "image": Medium(kind="image", source=odd_files.Endless(sys.argv[1]))}
row = Row(id="a", source="toy", prompt=[{"role": "user", "content": [picture]}], answer="", verifier=())
pool = Pool(1)
pool.submit(Recipe(family=FAMILIES["qwen2_5_vl"], processor=None, media=MediaConfig()), row)
while not pathlib.Path(sys.argv[1]).with_name("reached").exists():
    time.sleep(0.02)
print(*pool.processes(), flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_worker_ends_amid_its_work_when_its_parent_is_killed(odd, tmp_path):
    command = [sys.executable, "-c", ORPHANS, str(tmp_path / "a.png")]
    found = os.environ | {"PYTHONPATH": str(Path(odd.__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=found) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert _lives(pid)
        parent.kill()
    _wait(lambda: not _lives(pid))


def _with(row, place: int, kind):
    """The row, with one of its media's files of an odd kind."""
    odd = dataclasses.replace(row.media[place], source=kind(row.media[place].source))
    parts = list(row.prompt[0]["content"])
    parts[place] = {"type": odd.kind, odd.kind: odd}
    return dataclasses.replace(row, prompt=[{**row.prompt[0], "content": parts}])


def _wait(until) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
