from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmrl.errors import UserError
from mmrl.project import default_project, find_project, search_roots

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's project of one stage and one reward file."""
    (tmp_path / "configs" / "stage").mkdir(parents=True)
    (tmp_path / "configs" / "stage" / "mine.yaml").write_text("kind: grpo\n")
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "mine.py").write_text("print('mine was imported')\nVALUE = 7\n")
    return tmp_path


def python(code: str, folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", code], folder, *paths)


def run(command: list[str], folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MMRL_PROJECT"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, *paths)))
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found


def test_the_nearest_folder_with_stages_is_the_project(own: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MMRL_PROJECT", raising=False)
    deep = own / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_project() == own
    monkeypatch.chdir("/")
    assert find_project() == default_project() == ROOT


def test_what_is_named_goes_before_what_is_found(own: Path, monkeypatch: pytest.MonkeyPatch):
    other = own / "other"
    other.mkdir()
    monkeypatch.chdir(own)
    monkeypatch.setenv("MMRL_PROJECT", str(other))
    assert find_project() == other
    assert find_project(own) == own
    assert search_roots(own) == (own, ROOT)
    assert search_roots(ROOT) == (ROOT,)


def test_a_project_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"^--project: there is no folder /no/where$"):
        find_project("/no/where")
    monkeypatch.setenv("MMRL_PROJECT", "/no/where")
    with pytest.raises(UserError, match=r"^\$MMRL_PROJECT: there is no folder /no/where$"):
        find_project()


def test_own_files_and_those_of_mmrl_are_one_package(own: Path):
    code = """
from mmrl.project import find_project, import_modules
modules = import_modules(find_project(), "rewards")
print(sorted(m.__name__ for m in modules if m.__name__ in ("rewards.mine", "rewards.exact")))
import rewards.exact, rewards.mine, sys
print(rewards.mine.__file__, rewards.exact.__file__)
others = ("data_pipelines.", "eval.")
print([m for m in sys.modules if m.startswith(others)], "torch" in sys.modules)
"""
    found = python(code, own)
    assert found.stdout.splitlines() == [
        "mine was imported",
        "['rewards.exact', 'rewards.mine']",
        f"{own}/rewards/mine.py {ROOT}/rewards/exact.py",
        "[] False",
    ]


def test_a_file_of_the_same_name_replaces_that_of_mmrl(own: Path):
    (own / "rewards" / "exact.py").write_text("OWN = True\n")
    code = """
from mmrl.project import find_project, import_modules
import_modules(find_project(), "rewards")
import rewards.exact
print(rewards.exact.OWN)
"""
    assert python(code, own).stdout.splitlines()[-1] == "True"


def test_a_package_of_that_name_that_something_else_installed_is_not_taken(
    own: Path, tmp_path: Path
):
    installed = tmp_path / "site"
    (installed / "rewards").mkdir(parents=True)
    (installed / "rewards" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    code = """
from mmrl.project import find_project, load_project
load_project()
import rewards.mine
print(rewards.mine.VALUE)
"""
    assert python(code, own, installed).stdout.splitlines()[-1] == "7"


def test_spawned_processes_find_the_same_project(own: Path):
    (own / "run.py").write_text("""
import multiprocessing

def work(name):
    import importlib
    from mmrl.project import load_project
    return str(load_project()), importlib.import_module(name).__name__

if __name__ == "__main__":
    import os

    from mmrl.project import load_project
    load_project()
    os.chdir("/")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, ["rewards.mine", "rewards.exact"]))
""")
    found = run([sys.executable, "run.py"], own)
    assert f"[('{own}', 'rewards.mine'), ('{own}', 'rewards.exact')]" in found.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nx = = 2\n", "broken.py:2: cannot be imported: SyntaxError: invalid syntax"),
        ("import nowhere_at_all\n", "broken.py:1: cannot be imported: ModuleNotFoundError"),
        (
            "def f():\n    return 1 / 0\n\n\nf()\n",
            "broken.py:2: cannot be imported: ZeroDivisionError",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line_with_its_place(
    own: Path, text: str, message: str
):
    (own / "data_pipelines").mkdir()
    (own / "data_pipelines" / "broken.py").write_text(text)
    code = """
from mmrl.errors import UserError
from mmrl.project import find_project, import_modules
try:
    import_modules(find_project(), "data_pipelines")
except UserError as error:
    print(error)
"""
    (line,) = python(code, own).stdout.splitlines()
    assert line.startswith(f"{own}/data_pipelines/{message}")


def test_files_with_an_underscore_are_parts_of_others(own: Path):
    (own / "rewards" / "_parts.py").write_text("raise SystemExit('imported')\n")
    code = "from mmrl.project import *; import_modules(find_project(), 'rewards'); print('fine')"
    assert python(code, own).stdout.splitlines()[-1] == "fine"
