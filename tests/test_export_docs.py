"""docs/export.md and docs/lora.md are true: their commands work on a run, and the card that they
write says what the run did.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from mmrl.cli import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [(ROOT / "docs" / f"{name}.md").read_text() for name in ("export", "lora")]
BLOCKS = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines()]
TRAINED = [words for words in COMMANDS if words[1] == "train"]
EXPORTED = [words for words in COMMANDS if words[1] == "export"]
TINY = (
    *("stage=quickstart/grpo", "model.lora.rank=4", "optim.steps=2", "checkpoint.every=1"),
    *("rollout.prompts_per_step=2", "rollout.group_size=2", "rollout.max_new_tokens=4"),
    *("data.train.practice.params.tasks=null", "data.train.practice.params.tasks.colour=4"),
    *("data.heldout.test.params.tasks=null", "data.heldout.test.params.tasks.colour=4"),
    "out=runs/NAME/001",
)


@pytest.mark.parametrize("words", TRAINED, ids=lambda words: words[-1])
def test_what_learns_is_accepted(words, capsys):
    assert run(["--project", str(ROOT), *words[1:], "--dry-run"]) == 0, capsys.readouterr().err


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with a run of two steps."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["--project", str(ROOT), "train", *TINY]) == 0
    return folder


def test_exports_work_and_their_cards_say_what_the_run_did(reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    for words in {tuple(words) for words in EXPORTED}:
        assert run(list(words[1:])) == 0, (words, capsys.readouterr().err)
    assert (reader / "whole" / "model.safetensors").is_file()
    assert (reader / "adapter" / "adapter_model.safetensors").is_file()

    lines = [json.loads(line) for line in (reader / "runs/NAME/001/metrics.jsonl").open()]
    rollouts = [json.loads(line) for line in (reader / "runs/NAME/001/rollouts.jsonl").open()]
    card = (reader / "whole" / "README.md").read_text()
    tokens = sum(one["length"] for one in rollouts)
    assert f"step 2, {tokens} completion tokens" in card
    last = {key: value for line in lines for key, value in line.items() if key[:5] == "eval/"}
    assert last
    for key, value in last.items():
        assert f"| grpo | {key} | {value:.4g} |" in card
    earlier = (reader / "earlier" / "README.md").read_text()
    assert "stage grpo, step 1, " in earlier
    manifests = [*reader.glob("runs/NAME/001/data/*/manifest.json")]
    assert len(manifests) == 2
    assert all(
        f'"rows_hash": "{json.loads(m.read_text())["rows_hash"]}"' in card for m in manifests
    )
    shown = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert shown == yaml.safe_load((reader / "runs/NAME/001/config.yaml").read_text())
