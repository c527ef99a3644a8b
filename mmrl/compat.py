"""Makes torchvision importable where its compiled operators do not fit the installed torch, and
tells DeepSpeed where there is no accelerator.

A CPU build of torch beside a CUDA build of torchvision is a common pair, because package indexes
offer the two in different builds. Processors need torchvision's pure-Python transforms only.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_KEPT: list[object] = []


@functools.cache
def make_torchvision_importable() -> None:
    """Declare the operators whose absence stops `import torchvision`; call it before that import.

    A torchvision whose compiled operators load is left as it is, and so is one that is not
    installed. Nothing of torchvision is imported here.
    """
    found = find_spec("torchvision") if "torchvision" not in sys.modules else None
    if found is None or _operators_load(found.submodule_search_locations or []):
        return
    import torch

    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]  # left over from an import that failed
    library = torch.library.Library("torchvision", "FRAGMENT")
    _KEPT.append(library)  # the schemas live as long as this object does
    for schema in _SCHEMAS:
        if not _is_declared(schema.partition("(")[0]):
            library.define(schema)


def name_deepspeeds_device() -> None:
    """Tell DeepSpeed that this is a CPU, where it is one: accelerate imports it to save weights,
    and it would print that it has found nothing else, amid what a command says.
    """
    import torch

    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def startup_path() -> str | None:
    """What has to stand on PYTHONPATH of a program that imports torchvision by itself; None where
    torchvision is fine.
    """
    found = find_spec("torchvision") if "torchvision" not in sys.modules else None
    if found is None or _operators_load(found.submodule_search_locations or []):
        return None
    return str(Path(__file__).with_name("startup"))


def _operators_load(folders: list[str]) -> bool:
    """Load the compiled operators just as torchvision itself will."""
    import torch

    extension = PathFinder.find_spec("_C", folders)
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except (ImportError, OSError):
        return False
    return _is_declared("nms")


def _is_declared(operator: str) -> bool:
    import torch

    return hasattr(torch.ops.torchvision, operator)
