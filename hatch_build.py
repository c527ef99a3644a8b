"""Puts the default project into a wheel, under mmrl/default_project/.

An editable install gets no copy: it uses the checkout's own folders.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("configs", "data_pipelines", "eval", "rewards")
KINDS = {".py", ".yaml", ".json", ".jsonl", ".md", ".txt"}


class DefaultProject(BuildHookInterface):
    """The build hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files of the four folders to a standard wheel."""
        if version != "standard":
            return
        root = Path(self.root)
        for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*")):
            if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts:
                name = path.relative_to(root).as_posix()
                build_data["force_include"][str(path)] = f"mmrl/default_project/{name}"
