from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


RESIZE = """
from torchvision.transforms.v2 import functional
import torch
print(tuple(functional.resize(torch.zeros(1, 3, 8, 8), [4, 4]).shape))
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass",
        "import torch\nlibrary = torch.library.Library('torchvision', 'FRAGMENT')",
    ],
    ids=["first", "after an import that may have failed", "beside another library"],
)
def test_torchvision_is_importable_whatever_came_before(before: str):
    code = (
        f"{before}\nfrom mmrl.compat import make_torchvision_importable as make\nmake()\nmake()\n"
    )
    assert python(code + RESIZE) == "(1, 3, 4, 4)\n"


def test_a_torchvision_that_works_is_left_alone():
    code = """
import sys, types
works = types.ModuleType("torchvision")
sys.modules["torchvision"] = works
from mmrl.compat import make_torchvision_importable
make_torchvision_importable()
print(sys.modules["torchvision"] is works, "torch" in sys.modules)
"""
    assert python(code) == "True False\n"


def test_processors_can_be_imported_after_it():
    code = """
from mmrl.compat import make_torchvision_importable
make_torchvision_importable()
from transformers import Qwen2VLImageProcessor
print(Qwen2VLImageProcessor.__name__)
"""
    assert python(code) == "Qwen2VLImageProcessor\n"
