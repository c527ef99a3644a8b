"""Where a run's folder stands: `runs/<name>/<number>`, unless `out=` names another."""

from __future__ import annotations

from pathlib import Path

RESOLVED = "config.yaml"
"""The file of a run folder that holds the resolved configuration."""


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
