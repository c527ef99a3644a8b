from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mmrl import __version__
from mmrl.cli import COMMANDS
from mmrl.config.loader import load_resolved
from mmrl.config.yaml12 import parse

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    *("torch", "torchvision", "transformers", "accelerate", "datasets", "trl", "decord", "av"),
    *("cv2", "sympy", "math_verify", "pandas", "pyarrow", "soundfile", "rich"),
}


def test_help_lists_every_command_and_imports_none(imported):
    code, names = imported("--help")
    assert code == 0
    assert not names & {*HEAVY, "pydantic", "omegaconf", "yaml", "rich"}


def test_help_takes_less_than_a_seventh_of_a_second_of_cpu(mmrl):
    durations = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        mmrl("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(durations) < 0.15


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_says_what_the_list_says(mmrl, name):
    done = mmrl(name, "--help")
    assert done.returncode == 0
    assert f"  {name}" in mmrl("--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "stage=toy/grpo", "--dry-run"),
        ("train", "curriculum=both", "--dry-run", "seed=3"),
        ("config", "show", "stage=toy/sft"),
        ("config", "keys"),
        ("config", "list"),
        ("--version",),
    ],
)
def test_what_only_reads_the_configuration_imports_nothing_heavy(imported, arguments):
    code, names = imported(*arguments)
    assert (code, names & HEAVY) == (0, set())


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "stage=toy/grpo", "rollout.group_size=1"),
        ("train", "stage=toy/grpo", "rollout.group_sise=4"),
        ("train", "stage=nowhere"),
        ("train", "resume=nowhere"),
        ("train", "optim.lr"),
        ("train",),
        ("train", "stage=toy/grpo", "rewards.terms.form.name=think_answr"),
        ("train", "stage=toy/grpo", "data.train.x.pipeline=nowhere"),
        ("--project", "/no/where", "train", "stage=toy/sft"),
        ("nonsense",),
    ],
)
def test_a_mistake_ends_with_two_before_anything_heavy_is_imported(imported, arguments):
    code, names = imported(*arguments)
    assert (code, names & HEAVY) == (2, set())


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ("train", "stage=toy/grpo", "rollout.group_sise=4", "rollout.group_size=1"),
            [
                "mmrl: rollout.group_sise: unknown key; did you mean 'rollout.group_size'? "
                "(command line)",
                "mmrl: rollout.group_size: must be at least 2, got 1 (command line)",
            ],
        ),
        (
            ("trian",),
            [
                "mmrl: there is no command 'trian'; did you mean 'train'? (there are: "
                f"{', '.join(COMMANDS)})"
            ],
        ),
        (
            ("train", "stage=toy/grpo", "rewards.terms.form.params={strct: 1}", "--dry-run"),
            ["mmrl: rewards.terms.form: verifier 'think_answer' has no parameter 'strct'; it"],
        ),
        (
            (
                *("train", "curriculum=both", "stages.warm.rewards.terms.form.name=think_answr"),
                *("data.train.b.pipeline=nowhere", "stages.cold.data.train.b=null"),
            ),
            [
                "mmrl: stages.warm.rewards.terms.form: there is no verifier 'think_answr', did you "
                "mean 'think_answer'?",
                "mmrl: stages.warm.data.train.b: there is no pipeline 'nowhere'; there are: ",
            ],
        ),
        (("train", "--dry"), ["mmrl: No such option '--dry'. Did you mean '--dry-run'?; see"]),
        (("--project", "/no/where", "train"), ["mmrl: --project: there is no folder /no/where"]),
        (("config", "list", "modle"), ["mmrl: there is no group 'modle'; did you mean 'model'? "]),
        (("config", "keys", "zzz"), ["mmrl: no key begins with 'zzz'; 'mmrl config keys' lists"]),
        (("config", "diff", "a", "b"), ["mmrl: 'a': arguments are written KEY=VALUE, for example"]),
    ],
)
def test_a_mistake_is_told_on_stderr_without_a_traceback(mmrl, arguments, lines):
    done = mmrl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    found = done.stderr.splitlines()
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "build", "synthetic", "out={file}/rows.jsonl"),
        ("data", "build", "jigsaw", "in={folder}", "out=/proc/none/rows.jsonl"),
        (
            "eval",
            "tasks=mathvista",
            "engine=replay",
            "responses={file}",
            "data={file}",
            "out={file}/run",
        ),
    ],
)
def test_a_place_that_cannot_be_written_to_is_one_line(mmrl, arguments, tmp_path: Path):
    (tmp_path / "file").write_text("")
    names = {"file": tmp_path / "file", "folder": tmp_path}
    done = mmrl(*(argument.format(**names) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_version(mmrl):
    assert mmrl("--version").stdout == f"mmrl, version {__version__}\n"


def test_a_dry_run_prints_a_resolved_configuration_and_writes_nothing(mmrl, project: Path):
    before = sorted(project.rglob("*"))
    done = mmrl("train", "curriculum=both", "--dry-run", "optim.lr=1e-5", "out=x")
    assert done.returncode == 0
    assert sorted(project.rglob("*")) == before
    assert "      lr: 1e-05" in done.stdout
    (project / "resolved.yaml").write_text(done.stdout)
    assert load_resolved(project / "resolved.yaml").stages["warm"].optim.lr == 1e-5
    assert parse(done.stdout, "x")["out"] == "x"
    assert mmrl("config", "show", "curriculum=both", "optim.lr=1e-5", "out=x").stdout == done.stdout


def test_another_project_can_be_named(mmrl, project: Path, tmp_path: Path):
    other = tmp_path / "other" / "configs" / "stage"
    other.mkdir(parents=True)
    (other / "alone.yaml").write_text("x: 1\n")
    listed = mmrl("--project", str(tmp_path / "other"), "config", "list", "stage").stdout
    assert "stage=alone\n" in listed
    assert "toy/sft" not in listed


def test_diff_takes_arguments_files_and_folders(mmrl, project: Path):
    done = mmrl("config", "diff", "stage=toy/grpo", "stage=toy/grpo optim.lr=1e-5 algo.loss=gspo")
    assert done.stdout.splitlines() == [
        "stages.grpo.optim.lr: 1e-06 -> 1e-05",
        "stages.grpo.algo.loss: dapo -> gspo",
    ]
    (project / "run").mkdir()
    (project / "run" / "config.yaml").write_text(mmrl("config", "show", "stage=toy/sft").stdout)
    assert mmrl("config", "diff", "run", "run/config.yaml").stdout == ""
    assert mmrl("config", "diff", "run", "stage=toy/sft seed=5").stdout == "seed: 0 -> 5\n"


def test_keys_prints_type_range_default_and_meaning(mmrl):
    assert mmrl("config", "keys", "rollout.group_size").stdout.splitlines() == [
        "rollout.group_size: integer, at least 2, default 8, grpo and select only",
        "    Completions per prompt; one completion has no siblings to be compared with.",
    ]
    assert "algo.loss: grpo | " in mmrl("config", "keys", "algo").stdout
    assert (
        "launch.processes: integer, at least 1, default 1, the run" in mmrl("config", "keys").stdout
    )


def test_a_reader_that_stops_reading_is_no_error(project: Path, environment: dict[str, str]):
    line = "mmrl config keys | head -n 1; echo ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("name: text")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, environment: dict[str, str]):
    out = tmp_path / "run"
    process = subprocess.Popen(
        ["mmrl", "train", "stage=quickstart/sft", f"out={out}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(600):
            if (out / "config.yaml").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"mmrl: stopped; go on with: mmrl train resume={out}"
    assert "Traceback" not in errors


def test_init_makes_a_project_that_resolves(mmrl, project: Path, environment: dict[str, str]):
    done = mmrl("init", "new")
    assert done.returncode == 0
    made = project / "new"
    assert {"configs", "rewards", "data_pipelines", "README.md", ".gitignore"} <= set(
        os.listdir(made)
    )
    assert not list(made.rglob("__pycache__"))
    shipped = sorted(p.relative_to(ROOT) for p in (ROOT / "configs").rglob("*.yaml"))
    assert sorted(p.relative_to(made) for p in (made / "configs").rglob("*.yaml")) == shipped
    (made / "configs" / "stage").mkdir(exist_ok=True)
    (made / "configs" / "stage" / "own.yaml").write_text(
        (project / "configs" / "stage" / "toy" / "sft.yaml")
        .read_text()
        .replace("model: mini", "model: qwen3_vl_4b")
    )
    line = shlex.split("mmrl train stage=own --dry-run")
    done = subprocess.run(line, cwd=made, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "# configs/model/qwen3_vl_4b.yaml" in done.stdout


def test_init_leaves_what_is_there_alone(mmrl, project: Path):
    (project / "file").write_text("")
    for name, line in [
        (".", "mmrl: init: . is not empty; name a new or empty folder\n"),
        ("file", "mmrl: init: file is a file; name a new or empty folder\n"),
        ("file/x", "mmrl: init: file/x cannot be written: Not a directory\n"),
    ]:
        done = mmrl("init", name)
        assert (done.returncode, done.stderr) == (2, line)
