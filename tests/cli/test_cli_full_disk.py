"""A disk that has no room is one line, whoever was writing."""

from __future__ import annotations

import json
import resource

import pytest

from mmrl.cli import run

STAGE = """
kind: sft
model: {family: qwen2_vl, tiny: qwen2_vl, device: cpu, threads: 1}
data: {train: {toy: {path: rows.jsonl}}}
optim: {steps: 1, batch_size: 1}
"""
ROW = {
    "id": "a",
    "source": "toy",
    "prompt": [{"role": "user", "content": "how many?"}],
    "answer": "3",
    "verifier": "exact",
    "response": "<answer>3</answer>",
}


@pytest.fixture
def room_for():
    """Limits how large a file may become."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 200_000], ids=["small files", "weights"])
def test_a_run_that_cannot_write_says_so_in_one_line(size, tmp_path, monkeypatch, capsys, room_for):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "stage").mkdir(parents=True)
    (tmp_path / "configs" / "stage" / "toy.yaml").write_text(STAGE)
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    room_for(size)
    assert run(["--project", str(tmp_path), "train", "stage=toy", "out=run"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("mmrl: ")
    assert "File too large; check the path, who may write there, and the space" in said
