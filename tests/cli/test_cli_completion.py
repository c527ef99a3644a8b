from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mmrl.completion import answers, read_line


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tr", ["train "]),
        ("config ", ["diff ", "keys ", "list ", "show "]),
        ("completion ", ["bash ", "zsh "]),
        ("train --dr", ["--dry-run "]),
        ("train st", ["stage=", "stop."]),
        ("train curriculum=both st", ["stage=", "stop.", "stages."]),
        ("train stage=toy/", ["stage=toy/grpo ", "stage=toy/sft "]),
        ("config show curriculum=b", ["curriculum=both "]),
        ("train mod", ["model=", "model."]),
        ("train model=m", ["model=mini "]),
        ("train rollout.gro", ["rollout.group_size="]),
        ("train algo.loss=d", ["algo.loss=dr_grpo ", "algo.loss=dapo "]),
        ("train log.rollouts=", ["log.rollouts=true ", "log.rollouts=false "]),
        ("train launch.st", ["launch.strategy="]),
        ("train launch.strategy=z", ["launch.strategy=zero2 ", "launch.strategy=zero3 "]),
        ("train stage=toy/grpo rewards.terms.", ["rewards.terms.accuracy.", "rewards.terms.form."]),
        ("train stage=toy/sft data.train.a.pa", ["data.train.a.path=", "data.train.a.params="]),
        ("train curriculum=both stages.", ["stages.cold.", "stages.warm."]),
        ("train curriculum=both stages.warm.algo.lo", ["stages.warm.algo.loss="]),
        ("train curriculum=both stages.warm.model=", None),
        ("train out=dat", ["out=data/"]),
        ("train resume=", ["resume=auto ", "resume=configs/", "resume=data/"]),
        (
            "train stage=toy/sft data.train.a.path=data/",
            ["data.train.a.path=data/two\\ rows.jsonl "],
        ),
        ("train rewards.terms.x.name=think", ["rewards.terms.x.name=think_answer "]),
        ("train data.train.x.pipeline=syn", ["data.train.x.pipeline=synthetic "]),
        ("config list mo", ["model "]),
        ("config keys rollout.gro", ["rollout.group_size "]),
        ("init d", ["data/"]),
        ("nonsense st", []),
        ("train zzz.", []),
        ("train optim.lr=", []),
    ],
)
def test_answers(
    project: Path, monkeypatch: pytest.MonkeyPatch, line: str, found: list[str] | None
):
    (project / "data").mkdir()
    (project / "data" / "two rows.jsonl").write_text("")
    monkeypatch.chdir(project)
    given = answers(read_line(f"mmrl {line}").words[1:], project)
    if found is None:
        assert "stages.warm.model=mini " in given
    else:
        assert given == found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mmrl ", ["mmrl", ""]),
        ("mmrl train a=b", ["mmrl", "train", "a=b"]),
        ("mmrl train 'a=b c", ["mmrl", "train", "a=b c"]),
        ('mmrl train "a=b', ["mmrl", "train", "a=b"]),
        ("mmrl train a=b ", ["mmrl", "train", "a=b", ""]),
        (r"mmrl train out=a\ b", ["mmrl", "train", "out=a b"]),
        ("mmrl train '' a", ["mmrl", "train", "", "a"]),
        ("mmrl  train a'b c'd\"e\"", ["mmrl", "train", "ab cde"]),
    ],
)
def test_a_line_is_cut_as_the_shell_cuts_it(line: str, words: list[str]):
    assert list(read_line(line).words) == words


class Terminal:
    """A shell in a pseudo-terminal."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, pattern: str, seconds: float = 20.0) -> str:
        """Read until the pattern appears; the text is returned without control sequences."""
        text, end = "", time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                text += os.read(self.master, 4096).decode(errors="replace")
            clean = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])|\x07", "", text)
            if re.search(pattern, clean):
                return clean
        raise AssertionError(f"{pattern!r} did not appear in {text!r}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


TYPED = [
    ("mmrl tr\t", "mmrl train "),
    ("mmrl train stage=toy/s\t", "mmrl train stage=toy/sft "),
    ("mmrl train rollout.gro\t", "mmrl train rollout.group_size="),
    ("mmrl train algo.loss=ci\t", "mmrl train algo.loss=cispo "),
    ("mmrl train curriculum=b\tstages.w\t", "mmrl train curriculum=both stages.warm."),
    ("mmrl train out=con\t", "mmrl train out=configs/"),
]
QUOTED = [
    ("mmrl train 'stage=toy/g\t", "mmrl train 'stage=toy/grpo'"),
    ("mmrl train stage='toy/g\t", "mmrl train stage='toy/grpo'"),
]


def test_bash_completes_in_a_terminal(project: Path, environment: dict[str, str]):
    terminal = Terminal(
        ["bash", "--norc", "--noprofile", "-i"],
        project,
        {**environment, "PS1": "$ ", "TERM": "dumb"},
    )
    try:
        terminal.send('eval "$(mmrl completion bash)"; echo re""ady\n')
        terminal.read_until("ready\r")
        for typed, shown in TYPED + QUOTED:
            terminal.send(typed)
            terminal.read_until(re.escape(shown))
            terminal.send("\x15")  # take the line away
        terminal.send("mmrl train model.dtype=\t\t")
        assert "float32" in terminal.read_until("bfloat16")
    finally:
        terminal.close()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_completes_in_a_terminal(project: Path, environment: dict[str, str]):
    terminal = Terminal(["zsh", "-f", "-i"], project, {**environment, "PS1": "$ ", "TERM": "dumb"})
    try:
        terminal.send(
            'autoload -U compinit; compinit -D; eval "$(mmrl completion zsh)"; echo re""ady\n'
        )
        terminal.read_until("ready\r")
        for typed, shown in TYPED:
            terminal.send(typed)
            terminal.read_until(re.escape(shown))
            terminal.send("\x15")
    finally:
        terminal.close()
