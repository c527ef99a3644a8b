"""`mmrl data select` as a person uses it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from mmrl.cli import run
from mmrl.data.rows import load_rows
from mmrl.selection.histogram import as_lines, as_page, bins_of
from mmrl.selection.scored import Scored


def say(text: str, turn: int) -> str:
    n = int(re.findall(r"(\d+) \+ 1", text)[0])
    return f"<answer>{n + 1 if turn < n else 'no'}</answer>"


@pytest.fixture
def select(serve, rows_file, tmp_path):
    server = serve(say)
    source = rows_file(5)

    def go(*arguments: str, method: str = "pass_rate") -> int:
        policy = [f"policy.{key}={value}" for key, value in server.policy.items()]
        given = [f"in={source}", f"out={tmp_path / 'picked.jsonl'}", f"method={method}"]
        return run(["data", "select", *given, *policy, "rollouts=4", *arguments])

    go.server = server
    return go


def test_rows_get_their_difficulty_and_the_others_their_reason(select, tmp_path, capsys):
    assert select() == 0
    rows = load_rows(tmp_path / "picked.jsonl")
    assert [(row.id, row.difficulty) for row in rows] == [("r1", 0.75), ("r2", 0.5), ("r3", 0.25)]
    assert rows[1].extra["selection"]["pass_rate"] == 0.5
    lines = (tmp_path / "picked.rejected.jsonl").read_text().splitlines()
    left = [json.loads(line) for line in lines]
    assert [(one["id"], one["difficulty"]) for one in left] == [("r0", 1.0), ("r4", 0.0)]
    assert "0 of 4 rollouts are right" in left[0]["reason"]
    out = capsys.readouterr().out
    assert "3 of 5 rows are selected, 0 could not be scored; 3 rows in" in out
    assert out.count("█") > 0
    page = (tmp_path / "picked.difficulty.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    manifest = json.loads((tmp_path / "picked.manifest.json").read_text())
    assert manifest["selected"] == 3
    assert manifest["teachers"]["policy"]["asked"] == 20


def test_all_rows_may_be_kept_with_their_difficulty(select, tmp_path):
    assert select("keep=all") == 0
    rows = load_rows(tmp_path / "picked.jsonl")
    assert [row.difficulty for row in rows] == [1, 0.75, 0.5, 0.25, 0]
    assert [row.extra["selection"]["selected"] for row in rows] == [False, True, True, True, False]
    assert (tmp_path / "picked.rejected.jsonl").read_text() == ""


def test_the_same_command_asks_nothing_again_and_another_is_refused(select, tmp_path, capsys):
    assert select() == 0
    before = (tmp_path / "picked.jsonl").read_bytes()
    asked = len(select.server.asked)
    assert select("concurrency=2") == 0
    assert (tmp_path / "picked.jsonl").read_bytes() == before
    assert len(select.server.asked) == asked
    assert select("window=[0,1]") == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rolouts=3"], "rolouts: unknown key; did you mean 'rollouts'?"),
        (["window=[0.8,0.2]"], "window goes from a low share to a high one"),
        (["policy.modle=x"], "did you mean 'policy.model'?"),
        (["model=tiny_omni"], "give either 'base_url' and 'model' (a server), or 'local'"),
        (["model=tiny_omn"], "did you mean 'tiny_omni'?"),
        (["confidence=1"], "confidence: must be less than 1"),
    ],
)
def test_mistakes_are_one_line_each(select, arguments, message, capsys):
    assert select(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not select.server.asked


def test_an_unknown_method_is_named_with_the_nearest(select, capsys):
    assert select(method="pasrate") == 2
    assert "did you mean 'pass_rate'?" in capsys.readouterr().err


def test_help_and_mistakes_load_no_torch():
    code = (
        "import sys; from mmrl.cli import run;"
        "run(['data', 'select', '--help']); run(['data', 'select', 'in=a', 'out=b', 'method=x']);"
        "run(['data', 'select', 'in=a', 'out=b', 'method=gain_rl', 'x=1']);"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "False"


def test_every_row_is_in_one_bin(rows_file):
    rows = load_rows(rows_file(11))
    values = [n / 10 for n in range(11)]
    scored = [
        Scored(row=row, difficulty=value, facts={}, reason="easy" if value < 0.3 else "")
        for row, value in zip(rows, values, strict=True)
    ]
    bins = bins_of(scored)
    assert [one.selected + one.others for one in bins] == [1] * 9 + [2]
    assert sum(one.others for one in bins) == 3
    assert as_lines(bins)[-1].endswith("2 of 2")
    page = as_page(bins, title="<x>", told=["a & b"])
    assert "<title>&lt;x&gt;</title>" in page
    assert "a &amp; b" in page
    assert len(bins_of([])) == 10


def test_difficulties_beyond_the_unit_interval_are_shown(rows_file):
    rows = load_rows(rows_file(3))
    scored = [
        Scored(row=row, difficulty=value, facts={})
        for row, value in zip(rows, (0.1, 1.57, 5.1), strict=True)
    ]
    bins = bins_of(scored)
    assert (bins[0].low, bins[-1].high) == (0, 6)
    assert sum(one.selected for one in bins) == 3
