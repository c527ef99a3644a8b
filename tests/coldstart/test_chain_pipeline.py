"""A chain as the data of a stage."""

from __future__ import annotations

import json

import pytest

from mmrl.data.rows import load_rows
from mmrl.data.sources import build_source
from mmrl.errors import ConfigError

CHANGES = {
    "teachers": {"own": None},
    "steps": {"thought": None, "response": {"text": "<think>so</think>{answer}"}},
}


@pytest.fixture
def rows_file(tmp_path):
    raws = [
        {
            "id": f"r{n}",
            "source": "toy",
            "prompt": [{"role": "user", "content": "How many?"}],
            "answer": str(n),
            "verifier": "exact",
        }
        for n in range(12)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return path


def test_a_stage_builds_its_rows_with_a_chain(rows_file, tmp_path):
    params = {"rows": str(rows_file), "chain": "ton", "changes": CHANGES}
    built = build_source("cold_start", params, folder=tmp_path / "built", seed=1)
    rows = load_rows(built / "rows.jsonl")
    assert [row.id for row in rows] == [f"r{n}" for n in range(12)]
    thoughts = {row.response.partition("</think>")[0] for row in rows}
    assert thoughts == {"<think>so", "<think>\n\n"}
    assert (built / "rejected.jsonl").read_text() == ""


def test_what_is_held_out_is_no_cold_start(rows_file, tmp_path):
    params = {"rows": str(rows_file), "chain": "ton", "changes": CHANGES}
    with pytest.raises(ConfigError, match="rows to train on"):
        build_source("cold_start", params, folder=tmp_path / "b", seed=1, split="heldout")
