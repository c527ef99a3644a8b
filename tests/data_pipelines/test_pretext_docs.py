"""What docs/data_pretext.md shows is what mmrl does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mmrl.cli import cli
from mmrl.data.pipelines import describe_pipelines

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/data_pretext.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[1]


@pytest.fixture(scope="module")
def reader(tmp_path_factory, photos, clips, sounds):
    folder = tmp_path_factory.mktemp("reader")
    for name, target in (("photos", photos), ("clips", clips), ("sounds", sounds)):
        (folder / name).symlink_to(target)
    return folder


def call(*words):
    result = CliRunner().invoke(cli, ["--project", str(ROOT), *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_its_commands_work_one_after_the_other(reader, monkeypatch):
    monkeypatch.chdir(reader)
    for line in block("sh").splitlines():
        program, *words = shlex.split(line)
        assert program == "mmrl"
        call(*words)
    assert {"jigsaw.jsonl", "jigsaw.media", "jigsaw.manifest.json"} <= {
        path.name for path in reader.iterdir()
    }
    assert "no mistakes" in call("data", "check", "splices.parquet")


def test_its_stage_is_one_that_can_be_run(reader, monkeypatch):
    monkeypatch.chdir(reader)
    stage = yaml.safe_load(block("yaml"))
    for split in ("train", "heldout"):
        source = stage["data"][split]["puzzles"]
        given = [f"{key}={value}" for key, value in source["params"].items()]
        out = f"out={reader}/{split}"
        call("data", "build", source["pipeline"], out, f"split={split}", *given)
    lines = ["defaults: [quickstart/grpo]", block("yaml")]
    (reader / "configs" / "stage").mkdir(parents=True)
    (reader / "configs" / "stage" / "puzzles.yaml").write_text("\n".join(lines))
    result = CliRunner().invoke(
        cli, ["--project", str(reader), "train", "stage=puzzles", "--dry-run"]
    )
    assert result.exit_code == 0, result.output
    assert "pipeline: jigsaw" in result.output


def test_its_table_names_every_pipeline_that_reads_a_folder():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(named) == sorted(p.name for p in describe_pipelines() if p.kind)
