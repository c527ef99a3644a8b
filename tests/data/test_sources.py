from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrl.config.schema import DataSource
from mmrl.data.pipelines import check_params, describe_pipelines, find_pipeline, parameter_docs
from mmrl.data.sources import build_source, load_source
from mmrl.errors import ConfigError, DataError

PARAMS = {"tasks": {"colour": 3}}


def contents(folder: Path):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def project(tmp_path):
    """A project with one pipeline of its own."""
    folder = tmp_path / "project"
    (folder / "configs" / "stage").mkdir(parents=True)
    (folder / "data_pipelines").mkdir()
    (folder / "data_pipelines" / "sums.py").write_text(
        '"""Sums."""\n'
        "import time\n"
        "from mmrl.data.pipelines import pipeline\n\n\n"
        "@pipeline\n"
        "def sums(folder, *, seed, split, count: int = 2, slow: bool = False, bad: bool = False):\n"
        '    """Add numbers.\n\n    Args:\n        count: How many rows.\n    """\n'
        "    for number in range(count):\n"
        "        (folder / f'{number}.txt').write_text('x')\n"
        "        if slow and number == 1:\n"
        "            (folder / 'reached').touch()\n"
        "            time.sleep(60)\n"
        "        row = {'id': str(number), 'source': 'sums', 'answer': str(number + 1),\n"
        "               'prompt': [{'role': 'user', 'content': f'{number} + 1'}],\n"
        "               'verifier': 'exact'}\n"
        "        yield {**row, 'answr': 1} if bad and number else row\n"
    )
    before = os.environ.get("MMRL_PROJECT")
    yield folder
    if before is None:
        os.environ.pop("MMRL_PROJECT", None)
    else:
        os.environ["MMRL_PROJECT"] = before


def test_a_path_is_read_up_to_its_limit(tmp_path, raw, write_jsonl):
    path = write_jsonl(raw("a"), raw("b"), raw("c"))
    rows = load_source(DataSource(path=path, limit=2), folder=tmp_path / "run", seed=0)
    assert [row.id for row in rows] == ["a", "b"]
    assert not (tmp_path / "run").exists()


def test_a_pipeline_is_built_once_and_found_again(tmp_path):
    source = DataSource(pipeline="synthetic", params=PARAMS)
    rows = load_source(source, folder=tmp_path, seed=0)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    first = contents(folder)
    stamp = (folder / "rows.jsonl").stat().st_mtime_ns
    again = load_source(source, folder=tmp_path, seed=0)
    assert rows == again
    assert len(rows) == 3
    assert all(row.media[0].source.is_file() for row in rows)
    assert (folder / "rows.jsonl").stat().st_mtime_ns == stamp
    assert contents(folder) == first
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["params"] == PARAMS
    assert manifest["rows"] == 3


def test_other_seeds_splits_and_params_are_other_builds(tmp_path):
    def build(params, seed, split):
        return build_source("synthetic", params, folder=tmp_path, seed=seed, split=split)

    folders = {
        build(PARAMS, 0, "train"),
        build(PARAMS, 1, "train"),
        build(PARAMS, 0, "heldout"),
        build({"tasks": {"colour": 4}}, 0, "train"),
        build(PARAMS, 0, "train"),
    }
    assert len(folders) == 4


def test_what_a_killed_build_left_is_removed_and_built_again(tmp_path, project):
    folder = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; from mmrl.data.sources import build_source\n"
        f"build_source('sums', {{'slow': True}}, folder=Path({str(folder)!r}), seed=0,\n"
        f"             project=Path({str(project)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 20
        while not list(folder.glob(".*.building/reached")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "rows.jsonl").exists()
    built = build_source("sums", {}, folder=folder, seed=0, project=project)
    assert not list(folder.glob(".*.building"))
    assert (built / "rows.jsonl").is_file()


def test_a_build_that_was_changed_by_hand_is_refused(tmp_path):
    folder = build_source("synthetic", PARAMS, folder=tmp_path, seed=0)
    with (folder / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="is not the build that its name promises"):
        build_source("synthetic", PARAMS, folder=tmp_path, seed=0)


def test_bad_rows_of_a_pipeline_are_named_and_nothing_is_left(tmp_path, project):
    with pytest.raises(DataError, match="pipeline sums, row 2: row 1: a row has no key 'answr'"):
        build_source("sums", {"bad": True}, folder=tmp_path / "run", seed=0, project=project)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_project_brings_pipelines_by_a_new_file_alone(project):
    found = {pipeline.name: pipeline for pipeline in describe_pipelines(project)}
    assert {"sums", "synthetic"} <= set(found)
    assert found["sums"].summary == "Add numbers."
    assert list(found["sums"].parameters) == ["count", "slow", "bad"]
    assert parameter_docs(found["sums"].build) == {"count": "How many rows."}


def test_every_parameter_of_the_default_pipelines_is_described():
    for pipeline in describe_pipelines():
        docs = parameter_docs(pipeline.build)
        assert set(pipeline.parameters) <= set(docs)
        assert pipeline.summary.endswith(".")


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("synthetc", {}, "there is no pipeline 'synthetc', did you mean 'synthetic'?"),
        ("synthetic", {}, "pipeline 'synthetic' needs the parameter 'tasks'"),
        ("synthetic", {"taks": {}}, "has no parameter 'taks', did you mean 'tasks'?"),
        ("synthetic", {**PARAMS, "seed": 3}, "has no parameter 'seed'"),
        ("synthetic", {**PARAMS, "folder": "/tmp"}, "has no parameter 'folder'"),
        ("synthetic", {"tasks": {"color": 3}}, "did you mean 'colour'?"),
        ("synthetic", {"tasks": ["colour", "boxx"], "count": 2}, "did you mean 'box'?"),
        ("synthetic", {"tasks": {"colour": 0}}, "0 does not fit at 'colour'"),
        ("synthetic", {"tasks": 3}, "3 does not fit (Input should be a valid dictionary or"),
        ("synthetic", {**PARAMS, "difficulty": 2}, "parameter 'difficulty': 2 does not fit"),
        (
            "synthetic",
            {**PARAMS, "image_size": "big"},
            "parameter 'image_size': 'big' does not fit",
        ),
        ("synthetic", {**PARAMS, "grid": [2]}, "parameter 'grid': [2] does not fit"),
    ],
)
def test_wrong_params_are_one_line_before_anything_is_built(name, params, said):
    with pytest.raises(ConfigError) as error:
        check_params(name, params)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_builder_must_take_what_the_engine_gives():
    from mmrl.data.pipelines import pipeline

    with pytest.raises(ConfigError, match="pipeline 'half' does not take seed, split"):

        @pipeline
        def half(folder):
            yield {}


def test_right_params_get_their_types():
    values = check_params("synthetic", {"tasks": {"colour": "3"}, "fps": 2, "grid": [2, 3]})
    assert values == {"tasks": {"colour": 3}, "fps": 2.0, "grid": (2, 3)}
    assert find_pipeline("synthetic").file.name == "synthetic.py"


def test_two_processes_share_one_build(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mmrl.data.sources import build_source\n"
        f"print(build_source('synthetic', {{'tasks': {{'colour': 30}}}},\n"
        f"                   folder=Path({str(tmp_path)!r}), seed=0))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (folder,) = found
    assert {path.name for path in tmp_path.iterdir()} == {".lock", Path(folder).name}
