"""What a person gets wrong is one line that names it, exit code 2, and in nobody's way later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmrl.cli import run as run_cli

STAGE = """
kind: %s
model: {family: qwen2_5_omni, tiny: qwen2_5_omni, device: cpu, threads: 1}
data: {train: {toy: {path: %s/rows.jsonl}}, heldout: {toy: {path: %s/heldout.jsonl}}}
optim: {steps: 1}
rollout: {max_new_tokens: 2%s}
"""


@pytest.fixture
def project(tmp_path, media_folder) -> Path:
    """A project with one stage of each kind, its rows and their media."""
    folder = tmp_path / "project"
    shutil.copytree(media_folder, folder / "media")
    groups = ", prompts_per_step: 1, group_size: 2"
    for name, kind, rollout in (("cold", "sft", ""), ("warm", "grpo", groups)):
        path = folder / "configs" / "stage" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAGE % (kind, folder, folder, rollout))
    _write(folder / "rows.jsonl", *_rows())
    _write(folder / "heldout.jsonl", _row("h0"))
    return folder


@pytest.fixture
def mmrl(project, capsys):
    """Run `mmrl` in the project; returns the exit code and the lines that begin with `mmrl: `."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        code = run_cli(["--project", str(project), *arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, [line for line in said.err.splitlines() if line.startswith("mmrl: ")]

    return run


def _row(row_id: str, *parts: str, **changes: Any) -> dict[str, Any]:
    media = [part.split(":") for part in parts]
    content = [{"type": kind, kind: f"media/{name}"} for kind, name in media]
    row = {
        "id": row_id,
        "source": "toy",
        "prompt": [{"role": "user", "content": [*content, {"type": "text", "text": "how many?"}]}],
        "answer": "3",
        "verifier": "exact",
        "response": "<answer>3</answer>",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def _rows() -> list[dict[str, Any]]:
    return [_row("r0", "image:a.png"), _row("r1", "video:a.mp4"), _row("r2", "audio:a.wav")]


def _write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _cut_video(project: Path) -> None:
    path = project / "media" / "a.mp4"
    path.write_bytes(path.read_bytes()[:-500])


def _empty_image(project: Path) -> None:
    (project / "media" / "a.png").write_bytes(b"")


def _sound_of_text(project: Path) -> None:
    (project / "media" / "a.wav").write_text("la la la")


def _no_such_medium(project: Path) -> None:
    (project / "media" / "a.png").unlink()


def _no_rows_file(project: Path) -> None:
    (project / "rows.jsonl").unlink()


def _wrong_key(project: Path) -> None:
    _write(project / "rows.jsonl", *_rows()[:2], _row("r2", anser="3"))


def _no_response(project: Path) -> None:
    _write(project / "rows.jsonl", *_rows()[:2], _row("r2", response=None))


def _id_twice(project: Path) -> None:
    _write(project / "heldout.jsonl", _row("h0"), _row("h0"))


def _half_a_line(project: Path) -> None:
    (project / "rows.jsonl").write_text(json.dumps(_row("r0")) + "\n" + '{"id": "r1", "sou')


def _no_such_verifier(project: Path) -> None:
    _write(project / "rows.jsonl", _row("r0", verifier="exakt"))


def _placeholder(project: Path) -> None:
    content = [{"type": "image", "image": "media/a.png"}, {"type": "text", "text": "<|IMAGE|>?"}]
    _write(project / "rows.jsonl", _row("r0", prompt=[{"role": "user", "content": content}]))


def _placeholder_in_response(project: Path) -> None:
    _write(project / "rows.jsonl", _row("r0", response="an <|AUDIO|>"))


def _long_sound(project: Path) -> None:
    import numpy as np

    from mmrl.media.writers import write_wav

    write_wav(project / "media" / "a.wav", np.zeros(5 * 16_000))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_cut_video, ("row r1", "a.mp4")),
        (_empty_image, ("row r0", "a.png")),
        (_sound_of_text, ("row r2", "a.wav")),
        (_no_such_medium, ("row r0", "a.png")),
        (_no_rows_file, ("rows.jsonl", "no such file")),
        (_wrong_key, ("rows.jsonl:3", "'anser'", "did you mean 'answer'")),
        (_half_a_line, ("rows.jsonl:2", "not JSON")),
        (_id_twice, ("heldout.jsonl:2", "h0")),
        (_no_such_verifier, ("'exakt'", "did you mean 'exact'")),
        (_placeholder, ("row r0", "<|IMAGE|>")),
        (_placeholder_in_response, ("row r0", "response", "<|AUDIO|>")),
        (_long_sound, ("row r2", "hears at most 4 s")),
        (_no_response, ("row r2", "no 'response'")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_mistake_in_the_data_is_one_line_and_the_same_command_works_when_it_is_repaired(
    mmrl, project, tmp_path, spoil, words
):
    command = ["train", "stage=cold", f"out={tmp_path / 'run'}"]
    whole = shutil.copytree(project, tmp_path / "whole")
    spoil(project)
    code, lines = mmrl(*command)
    assert code == 2
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    shutil.copytree(whole, project, dirs_exist_ok=True)
    assert mmrl(*command) == (0, [])
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rollout.group_size=1"], ("rollout.group_size", "2")),
        (["data.train.toy.path=nowhere.jsonl"], ("nowhere.jsonl", "no such file")),
        (["model.tiny=null", "model.path=./nowhere"], ("model.path", "'./nowhere'")),
        (["model.freeze=[nothing_like_it]"], ("model.freeze", "nothing_like_it")),
        (["optim.learning_rate=1"], ("optim.learning_rate",)),
    ],
    ids=lambda value: value[-1].partition("=")[0],
)
def test_a_mistake_in_the_configuration_is_one_line_and_blocks_no_folder(
    mmrl, tmp_path, arguments, words
):
    command = ["train", "stage=warm", f"out={tmp_path / 'run'}"]
    code, lines = mmrl(*command, *arguments)
    assert code == 2
    assert len(lines) == 1, lines
    assert all(word in lines[0] for word in words), lines[0]
    assert mmrl(*command, "resume=auto") == (0, [])


def test_grpo_needs_no_responses(mmrl, project, tmp_path):
    _no_response(project)
    assert mmrl("train", "stage=warm", f"out={tmp_path / 'run'}") == (0, [])


def test_every_bad_row_has_a_line_of_its_own(mmrl, project, tmp_path):
    _cut_video(project)
    _empty_image(project)
    _sound_of_text(project)
    code, lines = mmrl("train", "stage=warm", f"out={tmp_path / 'run'}")
    assert code == 2
    assert [line.split(":")[1].strip()[:6] for line in lines] == ["row r0", "row r1", "row r2"]


def test_a_picture_for_a_model_that_only_hears_is_one_line(mmrl, project, tmp_path):
    _write(project / "rows.jsonl", *_rows()[:2])
    model = ["model.family=qwen2_audio", "model.tiny=null", "model.path=./nowhere"]
    code, lines = mmrl("train", "stage=warm", f"out={tmp_path / 'run'}", *model)
    assert code == 2
    assert lines == ["mmrl: row r0: the prompt has a image, the model takes only audio"]


@pytest.mark.parametrize("name", ["a/b", "..", "", "-a", ".writing-a"])
def test_a_stage_whose_name_is_no_name_for_a_folder_is_one_line(mmrl, project, tmp_path, name):
    path = project / "configs" / "curriculum" / "odd.yaml"
    path.parent.mkdir()
    path.write_text(f'stages: {{"{name}": {{stage: cold}}}}\n')
    code, [line] = mmrl("train", "curriculum=odd", f"out={tmp_path / 'run'}")
    assert code == 2
    assert f"stage {name!r}: a stage's name is made of" in line
    assert not (tmp_path / "run").exists()
