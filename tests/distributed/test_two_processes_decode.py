"""Two processes, each with workers of its own, are still one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed

TWO = ("launch.processes=2", "launch.strategy=ddp", "launch.timeout_s=60")


def test_each_process_decodes_its_own_rows_ahead(train):
    common = ["stage=free", "media.cache_mb=0", "rollout.prompts_per_step=3", *TWO]
    plain, ahead = train(*common), train(*common, "media.workers=1")
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        assert (plain / name).read_bytes() == (ahead / name).read_bytes(), name
    assert _last(ahead)["media_ahead"] > 0


def _last(run: Path) -> dict:
    lines = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    return [line for line in lines if "media_ahead" in line][-1]
