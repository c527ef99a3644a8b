"""The project that the engine runs: a folder with configs/, rewards/, data_pipelines/ and eval/.

mmrl never imports a project file by name. It walks the folders, the user's own first and then those
that mmrl carries, so that a new file is all that a new reward takes, and a file of the same name
replaces mmrl's.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from mmrl.errors import UserError

VARIABLE = "MMRL_PROJECT"
PACKAGES = ("rewards", "data_pipelines", "eval")
FOLDERS = ("configs", *PACKAGES)


def find_project(explicit: str | Path | None = None) -> Path:
    """Say which project folder is meant.

    The first of: `explicit`, `$MMRL_PROJECT`, the nearest folder from here upwards that holds
    `configs/stage/`, the project that mmrl carries. Raises UserError when a folder was named that
    does not exist.
    """
    named = explicit or os.environ.get(VARIABLE)
    if named:
        root = Path(named).expanduser().resolve()
        if not root.is_dir():
            origin = "--project" if explicit else f"${VARIABLE}"
            raise UserError(f"{origin}: there is no folder {named}")
        return root
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "configs" / "stage").is_dir():
            return folder
    return default_project()


def default_project() -> Path:
    """The project that mmrl carries: inside the wheel, or the checkout that mmrl/ stands in."""
    package = Path(__file__).resolve().parent
    carried = package / "default_project"
    return carried if carried.is_dir() else package.parent


def search_roots(root: Path) -> tuple[Path, ...]:
    """The folders in which a project's files are looked for, first match first."""
    default = default_project()
    return (root,) if root == default else (root, default)


def load_project(root: str | Path | None = None) -> Path:
    """Make the project's files importable by their folder's name, here and in child processes.

    Every process calls this once before it uses a reward, a pipeline or a benchmark; a child finds
    the project through `$MMRL_PROJECT`, which is set here. No project file is imported yet.
    """
    root = find_project(root)
    roots = search_roots(root)
    os.environ[VARIABLE] = str(root)
    paths = [path for path in sys.path if path not in map(str, roots)]
    sys.path[:] = [str(root), *paths, *map(str, roots[1:])]
    for package in PACKAGES:
        _bind(package, [str(folder / package) for folder in roots if (folder / package).is_dir()])
    return root


def import_modules(root: Path, package: str) -> tuple[ModuleType, ...]:
    """Import every module of rewards/, data_pipelines/ or eval/, in the order of their names.

    Files whose name starts with an underscore are left to those that import them. Raises UserError
    when a file cannot be imported, with the line that failed.
    """
    if package not in PACKAGES:
        raise ValueError(f"{package!r} is none of {PACKAGES}")
    load_project(root)
    names = sorted({found.name for found in pkgutil.iter_modules(sys.modules[package].__path__)})
    return tuple(_import(f"{package}.{name}") for name in names if not name.startswith("_"))


def _bind(package: str, paths: list[str]) -> None:
    """Make `package` mean these folders, also where another distribution installed that name."""
    known = sys.modules.get(package)
    if known is not None and list(dict.fromkeys(getattr(known, "__path__", ()))) == paths:
        return
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        if not str(getattr(sys.modules[name], "__file__", "")).startswith(
            tuple(f"{path}{os.sep}" for path in paths)
        ):
            del sys.modules[name]
    spec = ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = paths
    sys.modules[package] = module_from_spec(spec)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{_place(name, error)}: cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _place(name: str, error: Exception) -> str:
    """The file and line of a project file that failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    folder = name.partition(".")[0]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if folder in Path(frame.filename).parts
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
