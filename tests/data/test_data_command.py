from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmrl.cli import run
from mmrl.data.rows import load_rows


@pytest.fixture(autouse=True)
def same_project():
    before = os.environ.get("MMRL_PROJECT")
    yield
    os.environ.pop("MMRL_PROJECT", None)
    if before is not None:
        os.environ["MMRL_PROJECT"] = before


@pytest.fixture
def mmrl(capfd):
    """Run the command line; return the exit code, standard output and standard error."""

    def call(*arguments):
        code = run(["data", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def test_a_built_folder_passes_its_check(tmp_path, mmrl):
    tasks = ("colour", "box", "jigsaw", "direction", "pitch")
    arguments = [f"tasks.{task}=4" for task in tasks]
    code, out, err = mmrl("build", "synthetic", f"out={tmp_path}/toy", "seed=3", *arguments)
    assert (code, out, err) == (0, f"20 rows in {tmp_path}/toy\n", "")
    code, out, err = mmrl("check", tmp_path / "toy" / "rows.jsonl")
    assert (code, err) == (0, "")
    assert out.startswith("20 rows read, 20 media decoded, 20 gold answers judged\n")
    assert out.endswith("no mistakes\n")


def test_a_parquet_file_holds_everything(tmp_path, mmrl):
    out = tmp_path / "sub" / "toy.parquet"
    code, _, err = mmrl("build", "synthetic", f"out={out}", "tasks.colour=2", "tasks.jigsaw=2")
    assert (code, err) == (0, "")
    assert all(isinstance(row.media[0].source, bytes) for row in load_rows(out))
    assert mmrl("check", out)[0] == 0


def test_check_names_every_bad_row_and_exits_with_2(
    tmp_path, media, mmrl, raw, with_media, write_jsonl
):
    (media / "empty.png").touch()
    path = write_jsonl(
        with_media("good", image="media/a.png"),
        with_media("empty", image="media/empty.png", answer="4"),
        raw("keys", anwser="4"),
        raw("gold", answer="many", verifier="number"),
    )
    code, out, err = mmrl("check", path)
    lines = err.splitlines()
    assert code == 2
    assert lines[0].startswith(f"{path}:3: row keys: a row has no key 'anwser'")
    assert lines[1].startswith(f"row empty: image {media}/empty.png: 0 bytes")
    assert lines[2].startswith(f"{path}:4: row gold: number gives its own answer no score")
    assert len(lines) == 3
    assert "3 rows read, 2 media decoded" in out
    assert out.endswith("3 mistakes\n")


def test_check_can_leave_media_alone_and_change_limits(media, mmrl, with_media, write_jsonl):
    path = write_jsonl(with_media("a", audio="media/a.wav"), with_media("b", image="none.png"))
    code, out, _ = mmrl("check", path, "--no-media")
    assert (code, "media not decoded" in out) == (0, True)
    code, _, err = mmrl("check", path, "media.limit_audio_seconds=0.1")
    assert code == 2
    assert "row a: audio" in err
    assert "more than media.limit_audio_seconds (0.1)" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["check", "ROWS", "media.limit_audio_second=1"],
            "did you mean 'media.limit_audio_seconds'?",
        ),
        (["check", "ROWS", "limit_file_mb=-1"], "media.limit_file_mb: must be more than 0, got -1"),
        (["check", "none.jsonl"], "none.jsonl: no such file"),
        (["build", "synthetic", "tasks.colour=2"], "out: say where to"),
        (["build", "synthetic", "out=ROWS", "tasks.colour=2"], "is there already"),
        (
            ["build", "synthetic", "out=x.csv", "tasks.colour=2"],
            "give a folder, a .jsonl file or a",
        ),
        (["build", "synthetic", "out=x", "tasks=[colour]"], "a list of tasks needs 'count'"),
        (["build", "synthetic", "out=x", "tasks.colour=2", "count=3"], "'count' goes with a list"),
        (["build", "synthetic", "out=x", "seed=-1"], "seed: must be a whole number from 0 on"),
        (["build", "synthetic", "out=x", "split=test"], "split: must be train or heldout"),
        (["build", "synthetic", "out=x", "tasks=3", "tasks.colour=2"], "has a value of its own"),
        (["build", "sinthetic", "out=x"], "did you mean 'synthetic'?"),
        (["show", "ROWS", "limit=0"], "limit: must be a whole number from 1 on"),
        (["show", "ROWS", "lmit=3"], "lmit: there is no such argument, did you mean 'limit'?"),
        (["stats", "none.jsonl"], "none.jsonl: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments, said, mmrl, raw, write_jsonl, monkeypatch
):
    path = write_jsonl(raw())
    monkeypatch.chdir(path.parent)
    code, out, err = mmrl(*(argument.replace("ROWS", str(path)) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert [found.name for found in path.parent.iterdir()] == ["rows.jsonl"]


def test_list_describes_pipelines(mmrl):
    code, out, _ = mmrl("list")
    assert code == 0
    assert "synthetic: Mix questions on drawn pictures" in out
    assert "  image_size (56): Pixels per side of pictures and frames.\n" in out


def test_show_writes_a_page_beside_the_rows(media, mmrl, with_media, write_jsonl):
    path = write_jsonl(*(with_media(f"r{i}", image="media/a.png") for i in range(5)))
    code, out, _ = mmrl("show", path, "limit=3")
    page = path.with_suffix(".html")
    assert (code, out) == (0, f"{page}\n")
    assert page.read_text().count("<article") == 3
    assert "3 of 5 rows" in page.read_text()


def test_show_goes_on_after_bad_rows(mmrl, raw, write_jsonl):
    path = write_jsonl(raw("a"), raw("b", anwser="4"), raw("c", answer="4"))
    code, out, err = mmrl("show", path)
    page = path.with_suffix(".html").read_text()
    assert (code, out, err.count("\n")) == (2, f"{path.with_suffix('.html')}\n", 1)
    assert f"{path}:2: row b: a row has no key 'anwser'" in err
    assert page.count("<article") == 2
    assert "own answer <b>1</b>, that of c <b>0</b>" in page
    code, _, _ = mmrl("show", path, "--allow-skips", "verdicts=false")
    assert code == 0
    assert "own answer" not in path.with_suffix(".html").read_text()


def test_stats_count_sources_and_answers(mmrl, raw, write_jsonl):
    path = write_jsonl(
        *(raw(f"a{i}", source="sums", answer="1") for i in range(3)),
        raw("b", source="sums", answer="2", response="two"),
        raw("c", source="boxes", answer=[1, 2, 3, 4], verifier="box"),
    )
    code, out, _ = mmrl("stats", path)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[1] == ["boxes", "1", "text", "box", "0", "[1,", "2,", "3,", "4]", "100%"]
    assert lines[2] == ["sums", "4", "text", "exact", "1", "1", "75%,", "2", "25%"]
    assert lines[3] == ["5", "rows"]


def test_checking_rows_does_not_load_torch(tmp_path, raw, write_jsonl):
    path = write_jsonl(raw())
    code = (
        "import sys; from mmrl.cli import run\n"
        f"assert run(['data', 'check', {str(path)!r}]) == 0\n"
        "assert run(['data', 'list']) == 0\n"
        "print([name in sys.modules for name in ('torch', 'transformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[False, False]"
