"""Kill a run with SIGKILL at random moments, resume it each time, and compare it with a run that
was never stopped.

    python scripts/kill_and_resume.py curriculum=quickstart --kills 20 --seed 0 optim.steps=6

Logs, weights, optimizer moments and counters must be the same bytes. Ends with 1 where they are
not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmrl.project import find_project

RUN = "run"
"""Both runs are called so, in folders of their own, because logs name media by their paths."""
LOGS = ("config.yaml", "metrics.jsonl", "rollouts.jsonl")
STATE = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One SIGKILL and what it found."""

    seconds: float
    lines: int
    """Lines in metrics.jsonl."""
    checkpoints: int
    writing: bool
    """A checkpoint was being written or deleted."""


def main() -> int:
    """Run the comparison; return the exit code."""
    arguments, overrides = _parser().parse_known_args()
    wrong = [word for word in overrides if word.startswith("-") or "=" not in word]
    if wrong:
        _parser().error(f"{' '.join(wrong)}: overrides are written KEY=VALUE")
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="kill-and-resume-"))
    console = Console()
    console.print(f"{folder}: the run that is never stopped", highlight=False)
    seconds = _finish(_start(folder / "unbroken", overrides, "w"))
    console.print(f"it took {seconds:.0f} s; now {arguments.kills} kills", highlight=False)
    chance = random.Random(arguments.seed)
    kills: list[Kill] = []
    differing: list[str] = []
    rounds = 0
    while rounds == 0 or len(kills) < arguments.kills:
        rounds += 1
        kills += _torment(folder, overrides, chance, seconds, arguments.kills - len(kills))
        differing += _differences(folder / "unbroken" / RUN, folder / "killed" / RUN)
    _show(console, kills)
    if differing:
        console.print(f"NOT the same: {', '.join(sorted(set(differing)))}; see {folder}")
        return 1
    same = "logs, weights, moments and counters are the same bytes"
    console.print(f"{len(kills)} kills in {rounds} run(s): {same}", highlight=False)
    if not arguments.folder:
        shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare a run that is killed again and again with one that is not.",
        epilog="Everything else is given to 'mmrl train': stage=, curriculum=, KEY=VALUE.",
    )
    parser.add_argument("--kills", type=int, default=20, help="how often to kill (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--folder", help="keep both runs here; else they are removed when equal")
    return parser


def _torment(
    folder: Path, overrides: list[str], chance: random.Random, seconds: float, kills: int
) -> list[Kill]:
    """Kill a fresh run at most so often, or until it ends, and let it end; return the kills."""
    here = folder / "killed"
    shutil.rmtree(here, ignore_errors=True)
    found: list[Kill] = []
    while len(found) < kills:
        process = _start(here, [*overrides, "resume=auto"], "a")
        delay = chance.uniform(0, seconds)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            found.append(_look(here / RUN, delay))
            continue
        _check(process)
        return found
    _finish(_start(here, [*overrides, "resume=auto"], "a"))
    return found


def _start(here: Path, overrides: list[str], mode: str) -> subprocess.Popen[bytes]:
    here.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "mmrl",
        "--project",
        str(find_project()),
        "train",
        f"out={RUN}",
    ]
    root = Path(__file__).resolve().parents[1]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (here / "output.txt").open(mode) as output:
        return subprocess.Popen(
            [*command, *overrides],
            cwd=here,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdout=output,
            stderr=output,
        )


def _finish(process: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    process.wait()
    _check(process)
    return time.monotonic() - began


def _check(process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        raise SystemExit(
            f"the run ended with {process.returncode}: {' '.join(map(str, process.args))}"  # pyright: ignore[reportArgumentType]
        )


def _look(run: Path, seconds: float) -> Kill:
    metrics = run / "metrics.jsonl"
    names = os.listdir(run / "checkpoints") if (run / "checkpoints").is_dir() else []
    writing = [name for name in names if name.startswith(".")]
    return Kill(
        seconds=seconds,
        lines=metrics.read_bytes().count(b"\n") if metrics.exists() else 0,
        checkpoints=len(names) - len(writing),
        writing=bool(writing),
    )


def _differences(one: Path, other: Path) -> list[str]:
    finals = sorted(folder.name for folder in (one / "checkpoints").glob("*-final"))
    files = [f"checkpoints/{final}/{name}" for final in finals for name in STATE]
    files += [name for name in LOGS if (one / name).exists()]
    return [
        name
        for name in files
        if not (other / name).is_file() or (one / name).read_bytes() != (other / name).read_bytes()
    ]


def _show(console: Console, kills: list[Kill]) -> None:
    table = Table("kill", "after s", "metrics lines", "checkpoints", "amid a checkpoint")
    for number, kill in enumerate(kills, start=1):
        writing = "yes" if kill.writing else ""
        numbers = (str(number), f"{kill.seconds:.1f}", str(kill.lines), str(kill.checkpoints))
        table.add_row(*numbers, writing)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
