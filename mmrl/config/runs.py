"""Where a run's folder stands: `runs/<name>/<number>`, unless `out=` names another."""

from __future__ import annotations

from pathlib import Path

RESOLVED = "config.yaml"
"""The file of a run folder that holds the resolved configuration."""
ASKED = "asked.yaml"
"""What it is called until rows and weights are loaded and the run has begun."""


def remember(out: Path, config: str) -> None:
    """Note what is about to run, so that it can be resumed even when it never gets to begin."""
    if not (out / RESOLVED).is_file():
        out.mkdir(parents=True, exist_ok=True)
        (out / ASKED).write_text(config)


def next_out(name: str) -> Path:
    """The folder after the last one of that name; it does not exist yet."""
    return Path("runs") / name / f"{max(_numbers(name), default=0) + 1:03d}"


def newest(name: str) -> Path | None:
    """The last folder of that name in which a run was started."""
    folders = [
        Path("runs") / name / f"{number:03d}" for number in sorted(_numbers(name), reverse=True)
    ]
    return next((folder for folder in folders if (folder / RESOLVED).is_file()), None)


def _numbers(name: str) -> list[int]:
    return [
        int(path.name)
        for path in (Path("runs") / name).glob("*")
        if path.name.isascii() and path.name.isdigit()
    ]
