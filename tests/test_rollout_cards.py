from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

from mmrl.config.schema import Run
from mmrl.reporting.rollout_cards import find_modalities, read_shown_steps


def run_of(out: Path) -> Run:
    stage = {
        "kind": "grpo",
        "model": {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni"},
        "data": {"train": {"toy": {"path": "rows.jsonl"}}},
        "optim": {"steps": 60},
        "rollout": {"group_size": 2},
    }
    return Run.model_validate({"name": "toy", "out": out, "stages": {"grpo": stage}})


def write_lines(path: Path, lines) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def pair(step: int, row: str, **changes) -> list[dict]:
    shared = {"stage": "grpo", "step": step, "row": row, "source": "toy", "prompt": "?"}
    return [{"media": [], "completion": text, **shared, **changes} for text in ("yes", "no")]


def test_of_many_rollouts_only_the_first_and_the_last_step_are_held(tmp_path):
    path, run = tmp_path / "rollouts.jsonl", run_of(tmp_path)
    for step in range(1, 61):
        write_lines(path, pair(step, f"r{step}", prompt="x" * 50_000))
    assert path.stat().st_size > 5_000_000
    tracemalloc.start()
    steps = read_shown_steps(path, run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(step.step, len(step.groups)) for step in steps] == [(1, 1), (60, 1)]
    assert [len(step.groups[0].records_G) for step in steps] == [2, 2]
    assert peak < 3_000_000


def test_groups_are_told_apart_by_size_where_a_row_comes_twice(tmp_path):
    path, run = tmp_path / "rollouts.jsonl", run_of(tmp_path)
    write_lines(path, [*pair(1, "r"), *pair(1, "r"), *pair(1, "q")])
    (shown,) = read_shown_steps(path, run)
    assert [[r["row"] for r in group.records_G] for group in shown.groups] == [
        ["r", "r"],
        ["r", "r"],
        ["q", "q"],
    ]


def test_another_source_is_shown_before_a_second_group_of_the_same(tmp_path):
    path, run = tmp_path / "rollouts.jsonl", run_of(tmp_path)
    rows = [pair(1, f"a{n}", source="a") for n in range(5)]
    rows += [pair(1, "b0", source="b"), pair(1, "c0", source="c", prompt="<image>", media=["i"])]
    write_lines(path, [line for lines in rows for line in lines])
    (shown,) = read_shown_steps(path, run)
    assert [g.records_G[0]["row"] for g in shown.groups] == ["c0", "a0", "b0", "a1"]
    assert find_modalities(path, {"a", "b", "c"}) == {"a": "text", "b": "text", "c": "image"}
