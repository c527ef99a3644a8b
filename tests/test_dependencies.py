from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"mmrl", "rewards", "data_pipelines", "eval"}
BROUGHT_BY = {"pydantic_core": "pydantic"}
IN_EXTRAS = {
    "deepspeed",
    "openpyxl",
    "pandas",
    "peft",
    "ray",
    "tensorboard",
    "trackio",
    "trl",
    "vllm",
    "wandb",
}


def declared() -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}


def imported() -> dict[str, str]:
    """Every third-party package that the code imports anywhere, with a file that does."""
    found: dict[str, str] = {}
    for folder in OURS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {n: p for n, p in found.items() if n not in OURS and n not in sys.stdlib_module_names}


def test_what_the_code_imports_is_declared():
    known = packages_distributions()
    missing = {
        f"{name} ({path})"
        for name, path in imported().items()
        if name not in IN_EXTRAS
        and not {canonicalize_name(one) for one in known.get(BROUGHT_BY.get(name, name), [name])}
        & declared()
    }
    assert not missing


def test_what_is_declared_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["dev"], *extras["trl"], *extras["peft"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)], prereleases=True)


def test_pins_are_plain_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)
    assert "torch==2.13.0" in lines
    assert "deepspeed==0.19.8" in lines
