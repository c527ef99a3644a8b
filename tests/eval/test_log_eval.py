"""The sample log: whole lines, torn lines, keys."""

from __future__ import annotations

import json

import pytest

from mmrl.errors import RunError
from mmrl.evals.log import SAMPLES, LoggedSample, SampleLog, check_folder, read_log, sample_key


def _line(number: int, response: str = "C") -> LoggedSample:
    return LoggedSample(
        key=f"k{number}",
        task="toy",
        id=str(number),
        sample=0,
        response=response,
        stop="eos",
        tokens=1,
        settings={"media": {"video_fps": 2.0}},
    )


@pytest.fixture
def log(tmp_path):
    log = SampleLog(folder=tmp_path)
    yield log
    log.close()


def test_a_line_is_on_disk_as_soon_as_it_is_appended(log, tmp_path):
    log.append(_line(1))
    assert [line.id for line in read_log(tmp_path / SAMPLES)] == ["1"]


def test_what_was_logged_is_known_when_the_log_is_opened_again(tmp_path):
    first = SampleLog(folder=tmp_path)
    for number in range(100):
        first.append(_line(number))
    first.close()
    second = SampleLog(folder=tmp_path)
    assert second.samples["k42"] == _line(42)
    second.close()


@pytest.mark.parametrize(
    "torn", ['{"key": "k9"', "{", '{"key": "k9", "task": "t"}', '{"response": "\\ud8']
)
def test_a_last_line_that_was_never_finished_is_cut_off(tmp_path, torn):
    log = SampleLog(folder=tmp_path)
    log.append(_line(1))
    log.close()
    whole = (tmp_path / SAMPLES).read_bytes()
    (tmp_path / SAMPLES).write_bytes(whole + torn.encode())
    assert [line.id for line in read_log(tmp_path / SAMPLES)] == ["1"]
    again = SampleLog(folder=tmp_path)
    again.append(_line(2))
    again.close()
    lines = (tmp_path / SAMPLES).read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1", "2"]


def test_a_log_that_is_nothing_but_a_torn_line_is_empty(tmp_path):
    (tmp_path / SAMPLES).write_bytes(b'{"key": "' + b"x" * 200_000)
    log = SampleLog(folder=tmp_path)
    assert log.samples == {}
    log.close()
    assert (tmp_path / SAMPLES).read_bytes() == b""


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    (tmp_path / SAMPLES).write_text('{"key": 1}\n{"key": 2}\n')
    with pytest.raises(RunError, match=r"samples\.jsonl:1: not a line of a sample log"):
        SampleLog(folder=tmp_path)


def test_half_a_character_survives_the_log(log, tmp_path):
    log.append(_line(1, "caf\udcff \ud83d ✓"))
    assert next(read_log(tmp_path / SAMPLES)).response == "caf\udcff \ud83d ✓"


def test_only_one_process_writes(log, tmp_path):
    with pytest.raises(RunError, match="being written by another evaluation"):
        SampleLog(folder=tmp_path)


def test_a_key_depends_on_every_part():
    parts = {"prompt": "a", "media": ["m"], "sampling": {"seed": 0}, "sample": 0, "weights": "w"}
    keys = {sample_key(**parts)}
    changes = [
        {"prompt": "b"},
        {"media": []},
        {"sampling": {"seed": 1}},
        {"sample": 1},
        {"weights": "v"},
    ]
    for change in changes:
        keys.add(sample_key(**{**parts, **change}))
    assert len(keys) == 1 + len(changes)
    assert sample_key(**dict(reversed(parts.items()))) == sample_key(**parts)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^out: .*/file/run cannot be written to: Not a directory;"):
        SampleLog(folder=tmp_path / "file" / "run")
    with pytest.raises(RunError, match=r"file is no folder; choose another$"):
        check_folder(tmp_path / "file" / "run")
    check_folder(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
