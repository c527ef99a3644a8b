from __future__ import annotations

import pytest

from mmrl import progress
from mmrl.progress import _speed


@pytest.mark.parametrize(
    ("done", "total", "seconds", "said"),
    [
        (50, 200, 2.0, "25 rows/s, 0:06 left"),
        (1, 10_000, 2.0, "0.5 rows/s, 5:33:18 left"),
        (30, 30, 1.0, "30 rows/s, 0:00 left"),
        (300, None, 2.0, "150 rows/s"),
        (0, 10, 2.0, ""),
    ],
)
def test_the_rate_and_the_time_left_are_said(done, total, seconds, said):
    assert _speed(done, total, seconds, "rows") == said


def test_a_log_file_gets_a_line_now_and_then(capfd, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET_S", 0.0)
    with progress.progress("building", "files") as report:
        report(1, 4)
        report(2, None)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("building 1/4  ")
    assert lines[0].endswith(" left")
    assert lines[1].startswith("building 2  ")


def test_what_is_soon_over_says_nothing(capfd):
    with progress.progress("building", "files") as report:
        report(4, 4)
    assert capfd.readouterr().err == ""
